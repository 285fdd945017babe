"""What a browser sees that comes without the token: a page that asks for it."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tgvae.web.kept import static

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>tgvae: token</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{style}</style></head>
<body><main><h1>This page asks for a token</h1>
<p class="error" role="alert">{reason}</p>
<form action="/"><label class="field">Token
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button class="main">Open</button></form></main></body></html>
"""


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks for the page, not a program for an answer."""
    return request.url.path == "/" and "text/html" in request.headers.get("accept", "")


def entrance(reason: str) -> Response:
    """The page, with the reason why one stands before it. It needs no other file."""
    style = static()["style.css"].content.decode()
    return HTMLResponse(PAGE.format(style=style, reason=escape(reason)), 401)
