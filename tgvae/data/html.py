"""HTML to text."""

from __future__ import annotations

import re
from html import unescape

# What tags of HTML become: the end of a paragraph or a line, a blank, or nothing. Tags of other names stay.
_BLOCKS = """article aside blockquote body caption dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5 h6 head
    header hr html li link main meta nav noscript ol p pre section table tbody tfoot thead title tr ul"""
_SPANS = """a abbr acronym b big center cite code del dfn em font i ins kbd mark q s small span strike strong sub sup
    tt u var"""
_TAGS = {
    **dict.fromkeys(_BLOCKS.split(), "\n\n"),
    "br": "\n",
    **dict.fromkeys(("iframe", "img", "td", "th"), " "),
    **dict.fromkeys(_SPANS.split(), ""),
}
_ATTRIBUTE = r"""\s+[a-z][a-z0-9:_-]*\s*=\s*(?:"[^"<]*"|'[^'<]*'|[^\s"'<>]+)"""
_TAG = re.compile(rf"</?({'|'.join(_TAGS)})(?:{_ATTRIBUTE})*\s*/?>", re.ASCII | re.IGNORECASE)
# What nobody reads, with its content, which ends where another one begins: so time is linear. Without possessive
# quantifiers, which Python before 3.11.5 gets wrong for groups.
_COMMENT = re.compile(r"<!--(?:[^<-]|-(?!->)|<(?!!--))*-->")
_SCRIPT = re.compile(
    r"<!doctype\b[^<>]*>|<(script|style)\b[^<>]*>[^<]*(?:<(?!/?\1\b)[^<]*)*</\1\s*>", re.ASCII | re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.ASCII | re.IGNORECASE)


def without_markup(text: str) -> str:
    """Remove HTML tags and decode character references; a text without "<" and "&" is returned as it is."""
    if "<" in text:
        text = _COMMENT.sub("", _SCRIPT.sub(" ", text))
        text = _TAG.sub(lambda tag: _TAGS[tag[1].lower()], text)
    if "&" in text:
        text = _ENTITY.sub(lambda reference: unescape(reference[0]), text)
    return text
