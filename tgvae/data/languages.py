"""Languages: which is a text in, its sentences, and the words of a sentence that topics may use.

Rules of languages are from libraries where these have them: py3langid detects, sentencex finds sentences (English has
nupunkt, see `tgvae.data.tokenizers`), simplemma finds lemmas, and jieba, SudachiPy and pythainlp find the words of
scripts that set no blanks between them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import regex

from tgvae.errors import UserError, suggestion

SURE = 0.9
"""Probability from which a detected language is relied on."""
_NAMES = """arabic:ar belarusian:be bengali:bn bulgarian:bg catalan:ca chinese:zh croatian:hr czech:cs danish:da
    dutch:nl english:en estonian:et finnish:fi french:fr german:de greek:el gujarati:gu hebrew:he hindi:hi hungarian:hu
    indonesian:id italian:it japanese:ja korean:ko latvian:lv lithuanian:lt malaysian:ms norwegian:no persian:fa
    polish:pl portuguese:pt romanian:ro russian:ru serbian:sr slovak:sk slovenian:sl spanish:es swedish:sv tamil:ta
    thai:th turkish:tr ukrainian:uk urdu:ur vietnamese:vi"""
CODES = dict(pair.split(":") for pair in _NAMES.split())
"""Code of every language by its name."""
_LEMMA_CODES = {"no": "nb", "hr": "hbs", "sr": "hbs"}
_SEGMENTERS = {"chinese": "jieba", "japanese": "sudachipy", "thai": "pythainlp"}
# What elides its vowel before an apostrophe, and pronouns after a verb and a hyphen or apostrophe.
_FRONT = {
    "french": "l|d|j|m|n|s|t|c|qu|jusqu|lorsqu|puisqu|quoiqu",
    "italian": "l|d|c|s|n|m|t|v|un|gl|(?:a|da|de|ne|su|co|que|be)ll|quest|sant|tutt|mezz|nessun|ciascun|cos|com|dov",
    "catalan": "l|d|s|n|m|t",
}
_BACK = {
    "english": "n't|'(?:s|re|ve|ll|d|m)",
    "french": "-(?:t-)?(?:je|tu|il|elle|on|nous|vous|ils|elles|ce|moi|toi|le|la|les|lui|leur|y|en|ci|là)",
    "catalan": "'(?:n|l|s|m|t|ns|ls|hi|ho)",
}
_UNDIVIDED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]+")
# Letters, marks and digits, joined by hyphens, apostrophes, the Catalan dot, or the joiners of Persian and Indic.
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:[-\u2010\u2011'\u00b7\u200c\u200d][\p{L}\p{M}\p{N}]+)*")
_INITIAL = regex.compile(r"(?:^|\s)[\p{Lu}\p{Lo}]\p{M}*\.$")  # M. Dupont
_ADDRESS = regex.compile(r"://|^//|^www\.|@|[A-Za-z0-9]\.(?=[a-z]{2,})")
_LETTER = regex.compile(r"[\p{L}\p{M}]")
_LETTERS, _DIGITS = regex.compile(r"[\p{L}\p{M}]+"), regex.compile(r"\p{N}+")
_NO_WORDS = frozenset(("unk", "http", "https"))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # takes half a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language of a text, by its script or py3langid, or "" where that is not sure.

    Examples:
        >>> detect_language("Les enfants jouent dans le jardin de l'école."), detect_language("1, 2, 3")
        ('fr', '')
    """
    scripts = {"zh": r"\p{Han}", "ja": r"[\p{Hiragana}\p{Katakana}]", "th": r"\p{Thai}", "ko": r"\p{Hangul}"}
    counts = {code: len(regex.findall(script, text)) for code, script in scripts.items()}
    if sum(counts.values()) > 0.3 * sum(map(str.isalpha, text)):
        counts["ja"] *= 10  # most letters of Japanese are Han, and Chinese has no others
        return max(counts, key=counts.__getitem__)
    code, probability = _identifier().classify(text)
    letters = regex.findall(r"\p{L}", text)
    latin = len(letters) < 2 * len(regex.findall(r"\p{Latin}", text))  # in other scripts a guess is better than English
    return code if letters and (probability >= SURE or not latin) else ""


def forget_detector() -> None:
    """Free the 70 MB of the model that detects languages; it is loaded again when it is needed."""
    _identifier.cache_clear()


def language_name(name: str) -> str:
    """Return the name of a language that is given by name or code. Raises UserError for an unknown one."""
    known = {code: language for language, code in CODES.items()} | {language: language for language in CODES}
    if name.casefold() not in known:
        raise UserError(f"no language '{name}'{suggestion(name, CODES) or '; choose from ' + ', '.join(CODES)}")
    return known[name.casefold()]


def set_apart(text: str) -> bool:
    """Return whether words of Chinese, Japanese or Thai have blanks between them already."""
    runs = _UNDIVIDED.findall(text)
    longest = 12 if regex.search(r"\p{Thai}", text) else 4  # letters of a word and more, of a clause less
    return sum(map(len, runs)) < longest * len(runs) or not runs


def language_sentences(text: str, language: str) -> list[str]:
    """Return the sentences of a cleaned text by sentencex; a blank line is a boundary, and an initial ends none."""
    import sentencex

    sentences: list[str] = []
    code = CODES[language]
    for part in text.split("\n\n"):
        found = [sentence.strip() for sentence in sentencex.segment(code, part)]
        for before, sentence in zip(["", *found], found, strict=False):
            if before and sentence and _INITIAL.search(before):
                sentences[-1] += f" {sentence}"
            elif sentence:
                sentences.append(sentence)
    return sentences


@dataclass(frozen=True)
class WordRules:
    """Find the words of a sentence that can be topic words.

    Attributes:
        language: its name.
        lemmatize: whether words are replaced by their lemmas.
        segment: whether a library finds the words, in a script that sets no blanks between them.

    Raises:
        UserError: the language is unknown, has no lemmas, or its library is not installed.

    Examples:
        >>> WordRules("french").words("L'état d'urgence, dit-il, est «provisoire» (COVID-19) : https://example.org")
        ['état', 'urgence', 'dit', 'est', 'provisoire', 'covid-19']
        >>> WordRules("english", lemmatize=True).words("The king's children don't weigh 3.5 tons")
        ['the', 'king', 'child', 'weigh', 'ton']
    """

    language: str = "english"
    lemmatize: bool = False
    segment: bool = False

    def __post_init__(self) -> None:
        if self.language not in CODES:
            raise UserError(f"no language '{self.language}'; choose from {', '.join(CODES)}")
        if self.lemmatize:
            from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES

            if lemma_code(self.language) not in SUPPORTED_LANGUAGES:
                raise UserError(f"--lemmatize: simplemma has no lemmas for {self.language}; leave it out.")

    def words(self, sentence: str) -> list[str]:
        """Return candidate topic words in running order with repeats, in lower case.

        A topic word has three letters or more, or two outside the Latin script. Digits are allowed next to a hyphen
        alone. Addresses of the web and of mail have none.
        """
        chunks = segmenter(self.language)(sentence) if self.segment else sentence.split()
        return [word for chunk in chunks for word in self.chunk_words(chunk)]

    def chunk_words(self, chunk: str) -> tuple[str, ...]:
        """Return the topic words of a stretch without blanks, such as ``(l'école,``."""
        return _chunk_words(chunk, self.language, self.lemmatize)

    def tokens(self, sentence: str) -> list[str] | None:
        """Return all words and marks of a sentence that a library segments; None where blanks do."""
        return segmenter(self.language)(sentence) if self.segment else None


def lemma_code(language: str) -> str:
    """Return the code of a language as simplemma has it."""
    code = CODES[language]
    return _LEMMA_CODES.get(code, code)


def lower(text: str, language: str) -> str:
    """Return a text in lower case; Turkish has an i without a dot."""
    if language == "turkish":
        text = text.replace("I", "ı").replace("İ", "i")
    return text.lower().replace("i\u0307", "i")


@lru_cache(maxsize=2**14)  # about 350 bytes each, in every worker
def _chunk_words(chunk: str, language: str, lemmatize: bool) -> tuple[str, ...]:
    if _ADDRESS.search(chunk):
        return ()
    found = []
    for match in _WORD.findall(chunk):
        word = match
        if "'" in word or "-" in word:
            word = _clitics(language, front=True).sub("", word)
            word = _clitics(language, front=False).sub("", word)
        if lemmatize:
            import simplemma

            word = simplemma.lemmatize(word, lang=lemma_code(language))
        word = lower(word, language)
        parts = [word] if is_topic_word(word) else re.split(r"[-\u2010\u2011]", word)
        found += [part for part in parts if is_topic_word(part)]
    return tuple(found)


@cache
def _clitics(language: str, front: bool) -> re.Pattern[str]:
    if front:
        return re.compile(rf"^(?:(?:{_FRONT[language]})')+" if language in _FRONT else "(?!)", re.IGNORECASE)
    return re.compile(rf"(?:{_BACK[language]})$" if language in _BACK else "(?!)", re.IGNORECASE)


def is_topic_word(word: str) -> bool:
    """Return whether a word in lower case can be a topic word.

    Examples:
        >>> [is_topic_word(word) for word in ("army", "of", "我们", "covid-19", "3rd", "2019-20", "unk")]
        [True, False, True, True, False, False, False]
    """
    letters = len(_LETTER.findall(word))
    if word in _NO_WORDS or letters < (3 if word[:1] < "\u0250" else 2):
        return False
    parts = re.split(r"[-\u2010\u2011]", word)
    plain = (_LETTERS.fullmatch(re.sub("['\u00b7\u200c\u200d]", "", part)) for part in parts)
    return all(
        letters or (len(parts) > 1 and _DIGITS.fullmatch(part)) for letters, part in zip(plain, parts, strict=True)
    )


@cache
def segmenter(language: str) -> Callable[[str], list[str]]:
    """Return the function that cuts a sentence into words, in a script that sets no blanks between them.

    Raises:
        UserError: its library is not installed.
    """
    package = _SEGMENTERS[language]
    try:
        if package == "jieba":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it asks for pkg_resources, which is deprecated
                import jieba

            jieba.setLogLevel("ERROR")
            cut: Callable[[str], Any] = jieba.cut
        elif package == "sudachipy":
            import sudachipy

            tokenizer = sudachipy.Dictionary().create(sudachipy.SplitMode.C)  # C: whole compounds
            cut = lambda text: (word.surface() for word in tokenizer.tokenize(text))  # noqa: E731
        else:
            from pythainlp.tokenize import word_tokenize

            cut = word_tokenize
    except ImportError as error:
        raise UserError(
            f"{language.capitalize()} sets no blanks between words, and {package}, which finds them, is not installed: "
            f"pip install 'tgvae[{language}]', or set blanks between the words first."
        ) from error
    return lambda sentence: [word for word in cut(sentence) if not word.isspace()]


def needs_segmenter(language: str) -> bool:
    """Return whether the script of a language sets no blanks between words."""
    return language in _SEGMENTERS
