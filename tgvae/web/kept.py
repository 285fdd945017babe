"""What is answered from memory, the same to all: the page's own files, and what was found when it was started."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tgvae.evaluation.html_report import STYLE

TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True)
class Kept:
    """Bytes with their compressed form and a mark: a browser that shows the mark has them already."""

    content: bytes
    packed: bytes
    mark: str
    kind: str

    @classmethod
    def of(cls, content: bytes, kind: str) -> Kept:
        mark = hashlib.sha256(content).hexdigest()[:32]
        return cls(content, gzip.compress(content, compresslevel=6, mtime=0), f'W/"{mark}"', kind)

    @classmethod
    def json(cls, value: Any) -> Kept:
        return cls.of(json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), "application/json")

    def answer(self, request: Request) -> Response:
        """These, as the browser takes them, or that they are as it knows them."""
        headers = {"ETag": self.mark, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.mark in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(self.content, media_type=self.kind, headers=headers)
        return Response(self.packed, media_type=self.kind, headers=headers | {"Content-Encoding": "gzip"})


@cache
def static() -> dict[str, Kept]:
    """The page's files by name; its style is that of evaluation's pages and more, Plotly that of its package."""
    from plotly.offline import get_plotlyjs

    found = {f.name: f.read_bytes() for f in files("tgvae.web").joinpath("static").iterdir()}
    found["style.css"] = STYLE.encode() + found["style.css"]
    found["plotly.js"] = get_plotlyjs().encode()
    return {name: Kept.of(content, TYPES[name.rsplit(".")[-1]]) for name, content in found.items()}
