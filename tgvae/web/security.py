"""Access control in front of the API: origin, token and size of requests, and security headers of responses."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from html import escape
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from tgvae.evaluation.html_report import STYLE

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
STATIC = Path(__file__).parent / "static"
HEADERS = {
    # Scripts come from this server only. Plotly sets inline styles.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # browsers ask again and get status 304 for files that have not changed
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
LOGIN_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>tgvae: token</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{style}</style></head>
<body><main><h1>Token required</h1>
<p class="error" role="alert">{reason}</p>
<form action="/"><label class="field">Token
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button class="main">Open</button></form></main></body></html>
"""


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


def new_token() -> str:
    return secrets.token_urlsafe(24)


class AccessMiddleware:
    """Rejects cross-origin requests, requests without the token, and requests that are too large.

    Cross-origin requests are rejected so that other web sites cannot use the API through a visitor's browser. On
    loopback, ``TrustedHostMiddleware`` also checks the Host header, because DNS rebinding makes requests same-origin.

    Args:
        app: the application behind it.
        token: required as a Bearer token, or in the cookie that ``/?token=...`` sets; None disables the check.
        max_bytes: maximum size of a request.
    """

    def __init__(self, app: ASGIApp, token: str | None, max_bytes: int) -> None:
        self.app, self.token, self.max_bytes = app, token, max_bytes
        # Browsers share cookies between ports, so servers on one host need cookies of different names.
        self.cookie = f"tgvae_{hashlib.sha256((token or '').encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return await WebSocketClose()(scope, receive, send)
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope)
        response = self._check_origin(request) or self._check_token(request) or self._check_size(request)
        return await (response or self.app)(scope, receive, send_with_headers)

    def _check_origin(self, request: Request) -> Response | None:
        origin = request.headers.get("origin")
        if origin is None or origin.partition("://")[2] == request.headers.get("host", ""):
            return None
        return error_response(403, "cross-origin requests are not allowed")

    def _check_token(self, request: Request) -> Response | None:
        """Return None if the token is right, a redirect that sets the cookie, or an error: HTML for browsers."""
        if self.token is None:
            return None
        if request.url.path == "/" and "token" in request.query_params:
            if self._is_token(request.query_params["token"]):
                response = RedirectResponse("/", 303)  # removes the token from the address
                response.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
                return response
            reason = "wrong token; `tgvae serve` printed the right one, after token="
        else:
            kind, _, bearer = request.headers.get("authorization", "").partition(" ")
            if self._is_token(bearer if kind.lower() == "bearer" else request.cookies.get(self.cookie, "")):
                return None
            reason = "missing or wrong token; `tgvae serve` printed it, after token="
        if request.url.path == "/" and "text/html" in request.headers.get("accept", ""):
            style = STYLE + (STATIC / "style.css").read_text(encoding="utf-8")
            return HTMLResponse(LOGIN_PAGE.format(style=style, reason=escape(reason)), 401)
        return error_response(401, reason)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())  # constant time

    def _check_size(self, request: Request) -> Response | None:
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or (request.method == "POST" and not length.isdecimal()):
            return error_response(411, "the request needs a Content-Length header; chunked requests are not accepted")
        if length and int(length) > self.max_bytes:
            return error_response(413, f"the request has {length} bytes; the limit is {self.max_bytes}")
        return None
