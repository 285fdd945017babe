"""Cleaning, sentences, words and the two tokenizers."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgvae.data.tokenizers import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    SentencePieceTokenizer,
    SentenceTokenizer,
    WordTokenizer,
    clean_text,
    detokenize,
    load_tokenizer,
    split_sentences,
    word_tokenize,
)
from tgvae.errors import UserError

# "|" is a boundary with a space, "~" one where the space is missing.
SENTENCES = """
Kingma et al. proposed it.|We use it.
VAEs (Kingma et al., 2014) are popular.|They are easy to train.
This was shown by Smith et al.|We extend it.
See Fig. 2 for details.|The curve is flat.
See Figs. 2 and 3 for details.|Both are flat.
As in Eq. (3) we get zero.|The proof is short.
The U.S. economy grew fast.|Wages rose.
He lives in the U.S.|He likes it.
He is from the U.S. and she is not.|They met.
We use recurrent networks, e.g. GRUs and LSTMs.|They work well.
It is sparse, i.e. mostly zero.|It fits in memory.
The rate was 3.5 percent.|It fell later.
It costs $3.50.|That is cheap.
He said, "I am done."|Then he left.
He asked, "Why?"|She did not answer.
"It is late," he said.|"Go home."
"Stop!" he cried.|Nobody moved.
J. F. Kennedy spoke first.|He was brief.
We thank Prof. X. Li for his help.|He read the draft.
The plan was made by George W. Bush.|It passed.
Mr. President, we thank you.|Good night.
Dr. Smith met Mrs. Jones.|They talked.
Messrs. Lewis and Clark went west.|They came back.
Gen. Grant and Col. Lee were there.|It was cold.
Wait... what happened?|Nothing.
He waited...|Then he left.
It works (see above).|We go on.
(This is in brackets.)|This is not.
It holds in general [3].|The proof is in the appendix.
We sat down (it was late.)|Then we ate.
At 5 p.m. we left the house.|It was dark.
We met on Jan. 5 in town.|It was cold.
The meeting is on Mon. at noon.|Come early.
Acme Inc. and Foo Corp. merged.|Prices rose.
He works at Acme Inc.|She does not.
She has a Ph.D. in physics.|She teaches.
Roe v. Wade was decided in 1973.|It was overturned.
The match was France vs. Spain.|Spain won.
Visit www.example.com for more.|It is free.
Version 2.0.1 is out.|It fixes bugs.
We released version 2.0.|It is better.
It ended in 1999.|In 2000 it began again.
It lies at No. 10 Downing Street.|It is old.
St. Louis is a city.|It lies on a river.
The bacterium E. coli is common.|It is studied.
It is approx. 5 m long.|It is heavy.
The area is 5 km.|The height is small.
Is it true?|No!|Yes.
Really?!|I doubt it.
They explore smart devices.~This chapter is short.|It ends here.
We saw a large effect.~The cause is unknown.|We go on.
The price rose.~It fell again later.|Nobody knows why.
Section 3.2 gives results.|Section 4 concludes.
It was a no.|I was sad.
Type the command pip install torch.|Then run it.
He said 'No.'|Then he went.
He was born c. 1820 in York.|He died young.
D.C. is the capital.|It is small.
The capital is Washington, D.C.|It is small.
""".strip().splitlines()

KNOWN_FAILURES = """
We left at 5 p.m.|Rain fell.
It was the nineteenth century.|And it was long.
Greece lies to the south.|With its islands it is large.
This holds for all tasks.|Computer simulation confirms it.
There is one opinion among mankind.|True policy would say so.
The ring contains the group G.|We prove this.
Let x be in the field k.|In this case it is zero.
1. First we clean.|2. Then we train.
The temperature is 5 deg. C today.|It is cold.
""".strip().splitlines()

SCRAPS = [
    "<p>",
    "</p>",
    "<br",
    ">",
    "<",
    "&",
    "amp;",
    "lt;",
    "#13;",
    "#10;",
    " x='",
    "<!--",
    "-->",
    "<script>",
    "</script>",
]

CORPUS = [f'The old cat number {i} doesn\'t sleep on the warm mat, it "hunts" birds.' for i in range(200)]


def _case(case: str) -> tuple[str, list[str]]:
    return case.replace("|", " ").replace("~", ""), case.replace("~", "|").split("|")


@pytest.mark.parametrize("case", SENTENCES)
def test_split_sentences(case: str) -> None:
    text, sentences = _case(case)
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("case", KNOWN_FAILURES)
def test_split_sentences_known_failures(case: str) -> None:
    """An improvement fails here: move the case to SENTENCES and mend the score in the docstring."""
    text, sentences = _case(case)
    assert split_sentences(text) != sentences


def test_docstring_states_the_score() -> None:
    total = len(SENTENCES) + len(KNOWN_FAILURES)
    assert f"{len(SENTENCES)} of {total}" in (split_sentences.__doc__ or "")


def test_paragraphs_are_boundaries() -> None:
    assert split_sentences("A heading without a stop\n\nThen text.") == [
        "A heading without a stop",
        "Then text.",
    ]


def test_code_is_not_split() -> None:
    assert len(split_sentences("We call torch.Tensor(x) and big.LITTLE cores at example.com.")) == 1


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("\u201cIt\u2019s\u201d", '"It\'s"'),
        ("``quoted'' \u2026", '"quoted" ...'),
        ("co\u00adoperate\x00 zero\u200bwidth\ufeff", "cooperate zero width"),
        ("the o\ufb03ce of infor-\nmation, a 20-\nfold COVID-\n19", "the office of information, a 20- fold COVID- 19"),
        ("a\t b\u00a0c\r\nd", "a b c d"),
        ("one\n \n\n two\u2029three", "one\n\ntwo\n\nthree"),
        ("dash\u2014dash \u00abguillemets\u00bb", "dash\u2014dash \u00abguillemets\u00bb"),
        ("lone \ud800 surrogate", "lone surrogate"),
        (
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        (" \n\t ", ""),
    ],
)
def test_clean_text(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.one_of(st.text(), st.text("<>/&;=\"'-!#xabp1 \n"), st.lists(st.sampled_from(SCRAPS)).map("".join)))
def test_clean_text_has_one_form_and_is_encodable(text: str) -> None:
    clean = clean_text(text)
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert "\r" not in clean
    assert "  " not in clean
    assert clean == clean.strip()


@given(st.text(st.characters(exclude_characters="<&")))
def test_clean_text_of_no_markup_is_idempotent(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<p>One</p><P class=x>Two</P ><h1 id='t'>Three</h1>", "One\n\nTwo\n\nThree"),
        ("one<br>two<br/>three<BR clear=all />four<br><br>five", "one two three four\n\nfive"),
        ("<ul>\n<li>one\n<li>two\n</ul>", "one\n\ntwo"),
        ("<tr><td>1</td><td width=50>2</td></tr>", "1 2"),
        ("H<sub>2</sub>O is <b>wet</b>, <i>very</i>-very", "H2O is wet, very-very"),
        ("see <a href=\"http://x.org/?a=1&amp;b=2\"\ntitle='a > b'>this</a>", "see this"),
        ("<a href=http://x.org/?a=1>this</a>", "this"),
        ("a<script type='x' async>if (a<b) {f('<p>')}</script>b<STYLE>p {}</style >c", "a b c"),
        ("<!DOCTYPE html><!-- a <b> - -- c --><!---->text", "text"),
        ("<script><!-- f() //--></script>text", "text"),
        ("R&amp;D &lt;b&gt; &amp;lt; &AMP;", "R&D <b> &lt; &"),
        ("caf&eacute; cafe&#769; &#x201C;it&rsquo;s&#8221;&hellip;", 'caf\u00e9 caf\u00e9 "it\'s"...'),
        ("a&nbsp;b&#13;&#10;c co&shy;op &#10;&#10; d&#xD800;&#0;", "a b c coop\n\nd\ufffd\ufffd"),
    ],
)
def test_markup_is_read(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "x<y and z>w",
        "<p and q>",
        "<b or c = 3>",
        "p < 0.05, p<0.05, i<=b>c",
        "<unk> <s1> <pre-trained> </unk>",
        "vector<int> and <stdio.h>",
        "<john@example.org> or <http://example.org/a>",
        "the <script> element, not <style",
        "a <- b <!-- c",
        "AT&T, R&D, S&P500; Q&A & co, ?a=1&copy=2&lt=3, &nosuch; &#; &#x;",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert clean_text(text) == text


@given(st.lists(st.lists(st.text("aZ\u00e9 <>&\"';/#=p1", min_size=1), min_size=1)), st.data())
def test_pages_read_as_the_text_that_they_were_made_of(paragraphs: list[list[str]], data: st.DataObject) -> None:
    """Escaped pieces of text in tags of all kinds, against the same pieces without a page around them."""
    tags = st.sampled_from(["b", "I", "em class='x'", 'a href="y?z=1&amp;w"', "span\tid=1 lang = fr", "code"])
    page = ""
    for pieces in paragraphs:
        names = [data.draw(tags) for _ in pieces]
        inside = (f"<{t}>{escape(p)}</{t.split()[0]}>" for t, p in zip(names, pieces, strict=True))
        page += f"<{data.draw(st.sampled_from(['p', 'DIV', 'li class=x']))}>{''.join(inside)}<!-- -->"
    plain = [" ".join("".join(pieces).replace("''", '"').split()) for pieces in paragraphs]
    assert clean_text(page) == "\n\n".join(filter(None, plain))


@pytest.mark.parametrize(
    "part", ["<", "<a ", '<a x="', "<a x='", "<!--", "<!---", "<script>", "<style><script>", "&#1"]
)
def test_time_is_linear_in_what_is_never_closed(part: str) -> None:
    """Half a million characters take less than a second; were time quadratic, hours."""
    text = part * (500_000 // len(part))
    assert clean_text(text) == text.strip()


def test_word_tokenize() -> None:
    assert word_tokenize('He doesn\'t say "yes".') == ["He", "does", "n't", "say", "``", "yes", "''", "."]


@pytest.mark.parametrize(
    "sentence", ['He doesn\'t say "yes" (or no).', "It rose 3.5%, from 1914\u20131918.", "A\u2014B; C: D?"]
)
def test_detokenize_restores_prose(sentence: str) -> None:
    assert detokenize(word_tokenize(sentence)) == sentence


@pytest.fixture(scope="module")
def subwords() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(CORPUS, 400)


@pytest.fixture(scope="module")
def words() -> WordTokenizer:
    counts: dict[str, int] = {}
    for sentence in CORPUS:
        for word in word_tokenize(sentence):
            counts[word] = counts.get(word, 0) + 1
    return WordTokenizer.build(counts, min_count=2, vocabulary_size=300)


@pytest.fixture(params=["subwords", "words"])
def tokenizer(request: pytest.FixtureRequest) -> SentenceTokenizer:
    fixture: SentenceTokenizer = request.getfixturevalue(request.param)
    return fixture


def test_contract(tokenizer: SentenceTokenizer, tmp_path: Path) -> None:
    """What every tokenizer must do, among it to survive saving."""
    assert tuple(tokenizer.pieces[:4]) == SPECIALS
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (PAD, UNK, BOS, EOS)
    text = 'The old cat doesn\'t sleep, it "hunts" birds.'
    ids = tokenizer.encode(text)
    assert not set(ids) & {PAD, UNK, BOS, EOS}
    assert max(ids) < len(tokenizer) == len(tokenizer.pieces)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([BOS, *ids, EOS, *ids]) == text
    assert tokenizer.decode([*ids, PAD, PAD]) == text
    assert tokenizer.decode([]) == ""
    assert tokenizer.encode_batch([text, "", "birds"]) == [ids, [], tokenizer.encode("birds")]
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert (loaded.pieces, loaded.encode(text)) == (tokenizer.pieces, ids)


@settings(deadline=None)
@given(st.text().filter(lambda text: "\u2581" not in text))  # sentencepiece's own sign for a space
def test_subwords_lose_nothing(subwords: SentencePieceTokenizer, text: str) -> None:
    text = " ".join(clean_text(text).split())
    ids = subwords.encode(text)
    assert UNK not in ids
    assert subwords.decode(ids) == text


def test_subwords_are_deterministic_and_hold_no_path(
    subwords: SentencePieceTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = SentencePieceTokenizer.train(iter(CORPUS), 400).save(tmp_path).read_bytes()
    (tmp_path / "other").mkdir()
    assert model == subwords.save(tmp_path / "other").read_bytes()
    assert str(tmp_path).encode() not in model
    assert b"/tmp" not in model


def test_special_names_in_a_text_are_text(subwords: SentencePieceTokenizer, words: WordTokenizer) -> None:
    for name in SPECIALS:
        assert not set(subwords.encode(name)) & {PAD, UNK, BOS, EOS}
        assert not set(words.encode(name)) & {PAD, BOS, EOS}


def test_vocabulary_too_small_for_the_characters() -> None:
    many = ["".join(chr(0x4E00 + i) for i in range(j, j + 50)) for j in range(500)]
    with pytest.raises(UserError, match="vocabulary_size=300"):
        SentencePieceTokenizer.train(many, 300)


def test_word_vocabulary_is_chosen_by_count_then_alphabet() -> None:
    counts = {"b": 3, "a": 3, "c": 9, "rare": 1}
    assert WordTokenizer.build(counts, 2, 300).pieces == [*SPECIALS, "c", "a", "b"]
    assert WordTokenizer.build(counts, 2, 6).pieces == [*SPECIALS, "c", "a"]


def test_unknown_words(words: WordTokenizer) -> None:
    ids = words.encode("The old xylophone")
    assert ids[-1] == UNK
    assert UNK not in ids[:-1]
    assert words.decode(ids) == "The old <unk>"


@pytest.mark.parametrize("kind", ["subwords", "words"])
def test_a_lower_cased_corpus_lower_cases_its_texts(kind: str) -> None:
    corpus = [sentence.lower() for sentence in CORPUS]
    lower: SentenceTokenizer = (
        SentencePieceTokenizer.train(corpus, 400)
        if kind == "subwords"
        else WordTokenizer.build(dict.fromkeys(word_tokenize(corpus[0]), 9), 1, 300)
    )
    assert lower.lowercase
    assert lower.encode("The OLD cat") == lower.encode("the old cat")


def test_a_cased_corpus_keeps_case(tokenizer: SentenceTokenizer) -> None:
    assert not tokenizer.lowercase
    assert tokenizer.encode("The cat") != tokenizer.encode("the cat")


def test_no_tokenizer_in_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sentence tokenizer"):
        load_tokenizer(tmp_path)
