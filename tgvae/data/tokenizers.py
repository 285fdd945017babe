"""Text to sentences, words and ids: everything that preparation and generation must do alike."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import regex

from tgvae.data.bpe import MergeTable, boundary_tokens, leading_space, readable_pieces
from tgvae.data.html import without_markup
from tgvae.data.languages import language_sentences
from tgvae.errors import UserError
from tgvae.files import read_bytes, write_bytes, write_text

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
SENTENCEPIECE_FILE = "sentence.model"
WORDS_FILE = "sentence_words.txt"
BASE_FILE = "base_tokenizer.json"
ANEW = "copy the whole folder anew, or make it again"

_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019\u201a\u201b", "'") | dict.fromkeys("\u201c\u201d\u201e\u201f", '"'))
# Control and format characters, lone surrogates and soft hyphens; the (non-)joiners U+200C and U+200D
# stay, because Persian and the Indic scripts spell with them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u180e\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# Zero-width spaces separate words (Thai, Khmer), and ligatures of printed pages are letters.
_FORMS = str.maketrans(
    {"\u200b": " "} | {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
)
_LINE_END_HYPHEN = regex.compile(r"(?<=\p{Ll})-[ \t]*\n[ \t]*(?=\p{Ll})")
_PARAGRAPH = re.compile(r"\n\s*\n|\u2029")
_LOOSE_DASH = re.compile(r" ([\u2013\u2014]) ")
_MISSING_SPACE = re.compile(r"(?<=[a-z]{2}[.!?])(?=[A-Z][a-z]*\s)")
# No prose, but where it is full of "!" the time that nupunkt takes is quadratic in its length.
_LONG_WORD = re.compile(r"(?<!\S)(\S{4000,})")


def clean_text(text: str) -> str:
    """One form for every text: no markup, composed characters, ASCII quotes and ellipses, single spaces.

    HTML goes first: scripts, styles and comments with their content, tags of well-known elements; of a block
    the tag ends a paragraph. Only what is surely a tag is one: a name alone or attributes with "=", right
    after "<", so that `x<y and z>w`, `<p and q>` and `<unk>` stay, though not the middle of `a<b>c`. Then
    character references such as `&amp;` are read, once: `&lt;b&gt;` becomes `<b>`, and `&amp;lt;` becomes `&lt;`.
    Unicode NFC; control characters, soft hyphens and lone surrogates go; curly quotes and LaTeX's double
    quotes become ' and ", so that tokenizers see one form; dashes and guillemets stay. White space becomes
    one space, a blank line between paragraphs stays as one blank line.

    Examples:
        >>> clean_text("<p>“So  5 &lt; 6”</p><script>x()</script>")
        '"So 5 < 6"'
    """
    text = without_markup(text).replace("\r\n", "\n").replace("\r", "\n")
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text).translate(_FORMS)).translate(_QUOTES)
    text = _LINE_END_HYPHEN.sub("", text)
    text = text.replace("``", '"').replace("''", '"').replace("\u2026", "...")
    return "\n\n".join(p for part in _PARAGRAPH.split(text) if (p := " ".join(part.split())))


def split_sentences(text: str, language: str = "english") -> list[str]:
    """Return the sentences of a cleaned text: by nupunkt's pretrained Punkt model for English, else by sentencex.

    In English a space missing after a full stop ("devices.This chapter") is supplied first; a blank line is a
    boundary, and a word of 4,000 characters or more is a sentence. Right on 59 of 68 hard cases
    (tests/test_tokenizers.py). Known failures: a boundary after some words in pairs the model has learned
    ("century. And"), after "p.m." and after one-letter symbols ("the group G. We"); "2. Then" in numbered
    lists and "5 deg. C" are cut.

    Examples:
        >>> split_sentences("Dr. Smith came at 5. She left.")
        ['Dr. Smith came at 5.', 'She left.']
        >>> split_sentences("Am 3. Mai kam Dr. Müller. Er ging.", "german")
        ['Am 3. Mai kam Dr. Müller.', 'Er ging.']
    """
    if language == "english":
        from nupunkt import sentences as split  # takes half a second to import

        text = _MISSING_SPACE.sub(" ", text)
    else:
        split = partial(language_sentences, language=language)
    parts = _LONG_WORD.split(text)
    return [s for i, part in enumerate(parts) for s in ([part] if i % 2 else split(part))]


@cache
def _word_tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer  # takes two seconds to import

    return NLTKWordTokenizer()


@cache
def _word_detokenizer() -> Any:
    from nltk.tokenize.treebank import TreebankWordDetokenizer

    return TreebankWordDetokenizer()


def word_tokenize(sentence: str) -> list[str]:
    """Treebank words of ONE sentence: "doesn't" gives "does", "n't", and quotes become `` and ''.

    Examples:
        >>> word_tokenize("It doesn't rain.")
        ['It', 'does', "n't", 'rain', '.']
    """
    return _word_tokenizer().tokenize(sentence)


def detokenize(words: Sequence[str]) -> str:
    """Readable text from Treebank words: the inverse of `word_tokenize` for about 97 % of sentences.

    En and em dashes close up. Not restored: an opening single quote, "can not" (becomes "cannot"),
    and the spacing of code and formulas.

    Examples:
        >>> detokenize(["It", "does", "n't", "rain", "."])
        "It doesn't rain."
    """
    return _LOOSE_DASH.sub(r"\1", _word_detokenizer().detokenize(list(words)))


class SentenceTokenizer(ABC):
    """Sentence to ids and back; `pieces[id]` is the text of an id. Ids 0 to 3 are pad, unk, bos and eos.

    `byte_ids` are the pieces that are a byte of a rare character, if there are such.

    When no piece holds an upper-case letter the corpus was lower-cased, and so is every text to encode.
    """

    pad_id, unk_id, bos_id, eos_id = PAD, UNK, BOS, EOS
    pieces: list[str]
    byte_ids: list[int]
    lowercase: bool

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of a cleaned sentence, without bos and eos."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of every sentence, as `encode`."""
        return self._encode([text.lower() for text in texts] if self.lowercase else list(texts))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids up to the first eos; pad and bos are dropped, unk reads `<unk>`."""
        return self._decode([i for i in _until_eos(ids) if i not in (PAD, BOS)])

    @abstractmethod
    def _encode(self, texts: list[str]) -> list[list[int]]: ...

    @abstractmethod
    def _decode(self, ids: list[int]) -> str: ...

    @abstractmethod
    def save(self, folder: Path) -> Path:
        """Write the tokenizer's one file into the folder and return its path."""


def _until_eos(ids: Iterable[int]) -> Iterator[int]:
    for i in ids:
        if i == EOS:
            return
        yield int(i)


class SentencePieceTokenizer(SentenceTokenizer):
    """Unigram subwords with byte fallback (Kudo 2018): no text is out of vocabulary.

    Examples:
        >>> sentences = ["the army won", "the army lost"] * 20
        >>> tokenizer = SentencePieceTokenizer.train(sentences, vocabulary_size=280)
        >>> tokenizer.decode(tokenizer.encode("the army ☃ won"))  # a rare character goes by its bytes
        'the army ☃ won'
    """

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        special = [getattr(self._processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos")]
        if special != [PAD, UNK, BOS, EOS]:
            raise RuntimeError(f"its special ids are {special}, not {[PAD, UNK, BOS, EOS]}")
        self.pieces = [self._processor.id_to_piece(i) for i in range(len(self._processor))]
        self.byte_ids = [i for i in range(len(self.pieces)) if self._processor.is_byte(i)]
        whole = set(range(len(self.pieces))).difference(self.byte_ids)
        self.lowercase = not any(c.isupper() for i in whole for c in self.pieces[i])

    @classmethod
    def train(cls, sentences: Iterable[str], vocabulary_size: int) -> SentencePieceTokenizer:
        """Fit on cleaned sentences; a small corpus gives fewer pieces than asked for.

        Deterministic: one thread, sentences in the order given. Raises UserError when the size is too
        small for the characters of the corpus.
        """
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=model,
                model_type="unigram",
                vocab_size=vocabulary_size,
                hard_vocab_limit=False,
                byte_fallback=True,
                normalization_rule_name="identity",
                num_threads=1,
                minloglevel=2,
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                pad_piece=SPECIALS[PAD],
                unk_piece=SPECIALS[UNK],
                bos_piece=SPECIALS[BOS],
                eos_piece=SPECIALS[EOS],
                unk_surface=SPECIALS[UNK],
            )
        except RuntimeError as error:
            raise UserError(f"sentencepiece refused vocabulary_size={vocabulary_size}: {error}") from error
        return cls(model.getvalue())

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self._processor.encode(texts, num_threads=1)

    def _decode(self, ids: list[int]) -> str:
        return self._processor.decode(ids)

    def save(self, folder: Path) -> Path:
        """Write `sentence.model`."""
        path = folder / SENTENCEPIECE_FILE
        _remove_others(folder, path)
        write_bytes(path, self._processor.serialized_model_proto())
        return path


class WordTokenizer(SentenceTokenizer):
    """Whole Treebank words; a word outside the vocabulary becomes unk.

    Examples:
        >>> counts = {"the": 9, "army": 3, "rare": 1}
        >>> tokenizer = WordTokenizer.build(counts, min_count=2, vocabulary_size=10)
        >>> tokenizer.pieces
        ['<pad>', '<unk>', '<bos>', '<eos>', 'the', 'army']
        >>> tokenizer.encode("The rare army"), tokenizer.decode([4, 5, 3, 4])
        ([4, 1, 5], 'the army')
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.pieces, self.byte_ids = [*SPECIALS, *words], []
        self._ids = {word: i for i, word in enumerate(self.pieces)}
        self.lowercase = not any(c.isupper() for word in words for c in word)

    @classmethod
    def build(cls, counts: Mapping[str, int], min_count: int, vocabulary_size: int) -> WordTokenizer:
        """The most frequent words, ties by alphabet, that were seen `min_count` times or more.

        The size includes the four specials.
        """
        kept = sorted((word for word, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w))
        return cls(kept[: vocabulary_size - len(SPECIALS)])

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """Ids of words already tokenised (and lower-cased, where the corpus is)."""
        return [self._ids.get(word, UNK) for word in words]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [self.encode_words(word_tokenize(text)) for text in texts]

    def _decode(self, ids: list[int]) -> str:
        return detokenize([self.pieces[i] for i in ids])

    def save(self, folder: Path) -> Path:
        """Write `sentence_words.txt`, a word a line, id = line number from 0."""
        path = folder / WORDS_FILE
        _remove_others(folder, path)
        write_text(path, "\n".join(self.pieces) + "\n")
        return path


class BaseTokenizer(SentenceTokenizer):
    """The tokenizer of a pretrained language model, cut to the pieces of a corpus; no text is out of vocabulary.

    Every sentence is encoded with a space before it, as within a text, so that its pieces are the same whether or not
    other sentences come before it.

    Args:
        content: the parsed ``tokenizer.json`` of the base model.
        start: piece of the base model that precedes the first sentence.
        end: piece that ends a sentence.
        kept: ids of the base model that are kept, without those two and the bytes that are always kept.

    Attributes:
        base_ids: the id in the base model of every id here; pad and unk, which no text has, go by the start.

    Raises:
        UserError: the tokenizer is not byte-pair encoding.
    """

    def __init__(self, content: dict[str, Any], start: str, end: str, kept: Sequence[int]) -> None:
        import tokenizers

        self._content, self._table, self._start, self._end = content, MergeTable(content), start, end
        self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
        self._tokenizer.encode_special_tokens = True  # "<|endoftext|>" in a text is text
        first, last = self._table.ids[start], self._table.ids[end]
        every_byte = sorted(set(self._table.bytes.values()).difference(kept, (first, last)))
        self._kept = list(kept)
        self.base_ids = [first, first, first, last, *kept, *every_byte]
        self._ids = {base: i for i, base in enumerate(self.base_ids) if i > EOS}
        self._undone: dict[int, list[int]] = {}
        self.pieces = [*SPECIALS, *readable_pieces([self._table.pieces[i] for i in self.base_ids[len(SPECIALS) :]])]
        self.byte_ids = [self._ids[i] for i in self._table.bytes.values() if i in self._ids]
        self.lowercase = False
        self._space = leading_space(self._table.pieces[self._raw(["x"])[0][0]])

    @classmethod
    def fit(cls, sentences: Iterable[str], base: Path) -> BaseTokenizer:
        """Keep the pieces of cleaned sentences, most frequent first.

        Args:
            sentences: those of the training split.
            base: folder of the base model, with its ``tokenizer.json`` and ``tokenizer_config.json``.

        Raises:
            UserError: the folder has no tokenizer that can be cut.
        """
        content, named = read_base_tokenizer(base)
        try:
            table = MergeTable(content)
            whole = cls(content, *boundary_tokens(table.ids.keys(), named), kept=sorted(table.pieces))
        except UserError as error:
            raise UserError(f"{base}: {error}") from None
        counts: Counter[int] = Counter()
        for sentence in sentences:
            counts.update(whole._raw([whole._space + sentence])[0])
        ends = {whole._table.ids[whole._start], whole._table.ids[whole._end]}
        kept = sorted(counts.keys() - ends, key=lambda i: (-counts[i], i))
        return cls(content, whole._start, whole._end, kept)

    def require_base(self, base: Path) -> None:
        """Raises UserError where the tokenizer of a base model is another one."""
        content, _ = read_base_tokenizer(base)
        if content != self._content:
            raise UserError(
                f"{base}: not the base model that the corpus was prepared for; prepare it again with this one"
            )

    def _raw(self, texts: list[str]) -> list[list[int]]:
        """Ids of the whole vocabulary."""
        return [found.ids for found in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        rows = self._raw([self._space + text if text else "" for text in texts])  # no text: a sentence not modelled
        return [[i for base in row for i in self._cut(base)] for row in rows]

    def _cut(self, base: int) -> list[int]:
        if base not in self._undone:
            self._undone[base] = [self._ids[part] for part in self._table.undo(base, self._ids) if part in self._ids]
        return self._undone[base]

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode([self.base_ids[i] for i in ids if i >= len(SPECIALS)], skip_special_tokens=False)
        return text.removeprefix(" ")

    def save(self, folder: Path) -> Path:
        """Write `base_tokenizer.json`: the base model's tokenizer and the ids that are kept."""
        path = folder / BASE_FILE
        _remove_others(folder, path)
        saved = {"start": self._start, "end": self._end, "kept": self._kept, "tokenizer": self._content}
        write_text(path, json.dumps(saved, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> BaseTokenizer:
        """Raises UserError: the file is damaged."""
        try:
            saved = json.loads(read_bytes(path))
            kept, size = saved["kept"], max(MergeTable(saved["tokenizer"]).pieces)
            if not all(type(i) is int and 0 <= i <= size for i in kept) or len(set(kept)) < len(kept):
                raise ValueError("its ids are not those of the base model")
            return cls(saved["tokenizer"], saved["start"], saved["end"], kept)
        except Exception as error:  # tokenizers raises plain Exception for what it cannot read
            raise UserError(f"{path}: not a tokenizer of a base model ({error}); {ANEW}") from error


def read_base_tokenizer(base: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The parsed ``tokenizer.json`` of a base model, and the special tokens that it names.

    Raises:
        UserError: the folder has no such file, or it cannot be read.
    """
    path = base / "tokenizer.json"
    try:
        content = json.loads(path.read_bytes())
        config = base / "tokenizer_config.json"
        named = json.loads(config.read_bytes()) if config.is_file() else {}
        # A special token is a string, or an object with its content.
        tokens = {k: v["content"] if isinstance(v, dict) else v for k, v in named.items() if k.endswith("s_token")}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: no tokenizer that can be read ({error}); give the folder of a base model") from error
    return content, {name: token for name, token in tokens.items() if isinstance(token, str)}


def load_tokenizer(folder: Path) -> SentenceTokenizer:
    """The tokenizer that was saved in the folder.

    Raises:
        UserError: there is none, it cannot be read, or its pieces are not as ours are.
    """
    if (path := folder / SENTENCEPIECE_FILE).exists():
        try:
            tokenizer = SentencePieceTokenizer(read_bytes(path))
        except (RuntimeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not a tokenizer of sentencepiece ({error}); {ANEW}") from error
        _require_pieces(path, tokenizer.pieces)
        return tokenizer
    if (path := folder / WORDS_FILE).exists():
        _require_pieces(path, words := read_words(path))
        return WordTokenizer(words[len(SPECIALS) :])
    if (path := folder / BASE_FILE).exists():
        return BaseTokenizer.load(path)
    raise UserError(
        f"{folder}: no sentence tokenizer ({SENTENCEPIECE_FILE}, {WORDS_FILE} or {BASE_FILE}) in this folder."
    )


def _remove_others(folder: Path, path: Path) -> None:
    """Remove the tokenizer that a folder had before: it has one."""
    for name in {SENTENCEPIECE_FILE, WORDS_FILE, BASE_FILE} - {path.name}:
        (folder / name).unlink(missing_ok=True)


def _require_pieces(path: Path, pieces: Sequence[str]) -> None:
    if tuple(pieces[: len(SPECIALS)]) != SPECIALS:
        raise UserError(f"{path}: does not begin with {', '.join(SPECIALS)}; {ANEW}")
    if wrong := _unusable(pieces):
        raise UserError(f"{path}: {wrong}; {ANEW}")


def read_words(path: Path) -> list[str]:
    """Words of a file, a word a line.

    Raises:
        UserError: it is missing or cut off, not UTF-8, or has a word that preparation does not make.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {ANEW}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); {ANEW}") from error
    *words, rest = text.split("\n")
    if wrong := f"cut off after {rest[:60]!r}" if rest else _unusable(words):
        raise UserError(f"{path}: {wrong}; {ANEW}")
    return words


def _unusable(words: Sequence[str]) -> str:
    """What is wrong with a vocabulary: words that are empty, there twice, or hold what no cleaned text does."""
    if bad := [word for word in words if word.split() != [word] or _INVISIBLE.search(word)]:
        return f"holds the word {bad[0][:60]!r}, which no text has"
    return "holds a word twice" if len(set(words)) < len(words) else ""


def cut_words(sentence: str, words: list[str], length: int) -> str:
    """The sentence up to its word number `length`, where `words` are all its Treebank words."""
    end = 0
    for word in words[:length]:
        while sentence[end].isspace():
            end += 1
        end += 1 if word in ("``", "''") and sentence[end] == '"' else len(word)
    return sentence[:end]
