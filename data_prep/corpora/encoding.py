"""Read text files in whatever encoding they are.

UTF-8 and UTF-16 are recognised for certain. Of older encodings Western, Central European, Turkish and Baltic ones
have the same ASCII letters, so the language decides: charset-normalizer takes a £ in English for a Polish Ł. For
other scripts charset-normalizer decides.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, cast

from data_prep.corpora.files import readable
from tgvae.data.languages import detect_language
from tgvae.errors import UserError, suggestion

GZIP = b"\x1f\x8b"
"""First bytes of a gzipped file."""
BLOCK = 1 << 20
SAMPLE = 1 << 15
"""Bytes on either side of the first one that is not UTF-8, by which the encoding is guessed."""
DAMAGED = "utf-8 with single bytes of windows-1252"
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LATIN = {
    **dict.fromkeys(("pl", "cs", "sk", "hu", "hr", "sl", "bs", "ro", "sq"), "windows-1250"),
    **dict.fromkeys(("tr", "az"), "windows-1254"),
    **dict.fromkeys(("lt", "lv", "et"), "windows-1257"),
}
_OTHER = [
    *("cp1251", "koi8_r", "koi8_u", "cp866", "cp1253", "cp1255", "cp1256", "cp874"),
    *("shift_jis", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949"),
]
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as Windows-1252: an error handler of codecs."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("windows-1252", _windows_1252)


def known_encoding(name: str) -> str:
    """Return the name of an encoding as Python has it. Raises UserError for an unknown one."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        common = ("utf-8", "utf-16", "windows-1252", "latin-1", "windows-1251", "shift_jis", "gb18030")
        hint = suggestion(name, common) or f"; such as {', '.join(common)}"
        raise UserError(f"--encoding {name}: no such encoding{hint}.") from None


def open_bytes(path: Path) -> IO[bytes]:
    """Open a plain or gzipped file."""
    return cast(IO[bytes], gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb"))


def find_encoding(path: Path, given: str | None = None) -> str | None:
    """Return the encoding of a file, or None where it is no text, or not in the encoding that is given.

    The whole file is read, a block at a time.

    Raises:
        UserError: it cannot be read.
    """
    with _damage_named(path), open_bytes(path) as file:
        start = file.read(4096)
        if given:
            return given if _misfit(file, start, given) is None else None
        for mark, name in _MARKS.items():  # UTF-32 before UTF-16, whose mark it begins with
            if start.startswith(mark):
                return name if _misfit(file, start, name) is None else None
        if len(start) > 2 and start.count(0) > len(start) / 4:
            name = "utf-16-be" if start[::2].count(0) > start[1::2].count(0) else "utf-16-le"
            return name if _misfit(file, start, name) is None else None
        if (sample := _misfit(file, start, "utf-8")) is None:
            return "utf-8"
    return guess_encoding(sample)


def _misfit(file: IO[bytes], start: bytes, encoding: str) -> bytes | None:
    """Return the bytes around the first one that is not of an encoding, or None."""
    decoder, before, block = codecs.getincrementaldecoder(encoding)(), b"", start
    while True:
        try:
            decoder.decode(block, final=not block)
        except UnicodeError as error:
            position = len(before) + getattr(error, "start", 0)
            around = before + block + file.read(SAMPLE)
            return around[max(0, position - SAMPLE) : position + SAMPLE]
        if not block:
            return None
        before, block = block[-SAMPLE:], file.read(BLOCK)


def guess_encoding(sample: bytes) -> str | None:
    """Return the likeliest encoding of bytes that are not UTF-8; None where they are no text."""
    if sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample) > len(sample) / 100:
        return None
    lines = sample.splitlines()
    sample = b"\n".join(line for line in lines if not line.isascii())  # the language of ASCII lines may be another
    high = sum(byte >= 128 for byte in sample)
    if 2 * len(_MULTIBYTE.findall(sample)) > len(_MULTIBYTE.sub(b"", sample).translate(None, bytes(range(128)))):
        return DAMAGED
    if high > 0.4 * sum(byte >= 128 or chr(byte).isalpha() for byte in sample):
        from charset_normalizer import from_bytes

        best = from_bytes(sample, cp_isolation=_OTHER).best()
        return best.encoding if best else None
    language = detect_language(sample.decode("cp1252", "replace"))
    return _LATIN.get(language, "windows-1252")


def read_text_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file with their ends.

    Raises:
        UserError: a gzipped file is damaged, or the file cannot be read.
    """
    name, errors = ("utf-8", "windows-1252") if encoding == DAMAGED else (encoding, "replace")
    with _damage_named(path), TextIOWrapper(open_bytes(path), name, errors, newline="") as file:
        yield from file


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    with readable(path):
        try:
            yield
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path}: truncated or damaged gzip file ({error}).") from error
