"""Who may ask: the gate before all else."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tgvae.web.entrance import entrance, wants_page

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    # Plotly sets styles of its own; scripts come from here alone, and no text becomes one.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def refusal(status: int, reason: str, **headers: str) -> JSONResponse:
    """An answer that says in words what is wrong."""
    return JSONResponse({"error": reason}, status, {name.replace("_", "-"): value for name, value in headers.items()})


def new_token() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Guard:
    """Passes what comes to a name of ours, from our own page or from no page, with the token, and is short enough.

    The name is looked at so that no other site can have its own name lead here (DNS rebinding); where the page is not
    on loopback it may have any name, and the token takes its place.

    Attributes:
        app: what is guarded.
        hosts: names that it may be called by; None is any.
        token: that must come along: as a Bearer, or in the cookie that ``/?token=...`` sets; None is none.
        body: most bytes of a request.
    """

    app: ASGIApp
    hosts: Collection[str] | None
    token: str | None
    body: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # a websocket: closed without a word

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer: ASGIApp = self.answer(Request(scope)) or self.app
        return await answer(scope, receive, send_with_headers)

    def answer(self, request: Request) -> Response | None:
        """The answer to what does not pass, or only brings the token; None for what does."""
        headers = request.headers
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return refusal(400, "this page is not called so; open the address that `tgvae serve` printed")
        if "origin" in headers and _place(headers["origin"]) != host:
            return refusal(403, "another site's page may not ask here")
        if self.token is not None and request.url.path == "/" and "token" in request.query_params:
            return self._enter(request)
        if self.token is not None and not self._is_token(self._shown(request)):
            return _stopped(request, "the token is missing or wrong; `tgvae serve` printed it, after token=")
        if "transfer-encoding" in headers:  # before which the length would not count
            return refusal(411, "say the length of the request (Content-Length), and send it in one piece")
        length = headers.get("content-length", "")
        if request.method == "POST" and not length.isdecimal():
            return refusal(411, "say the length of the request (Content-Length)")
        if length and int(length) > self.body:
            return refusal(413, f"the request has {length} bytes; at most {self.body} are read")
        return None

    def _enter(self, request: Request) -> Response:
        """To the page without the token in its address, which now stands in a cookie."""
        token = request.query_params["token"]
        if not self._is_token(token):
            return _stopped(request, "this token is wrong; `tgvae serve` printed the right one, after token=")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, token, httponly=True, samesite="lax")
        return answer

    @property
    def _cookie(self) -> str:
        """Its name: browsers do not keep cookies apart by port, and another run may be served from this host."""
        assert self.token is not None
        return f"tgvae_{hashlib.sha256(self.token.encode()).hexdigest()[:8]}"

    def _shown(self, request: Request) -> str:
        """The token that a request shows, or nothing."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else request.cookies.get(self._cookie, "")

    def _is_token(self, shown: str) -> bool:
        """In constant time."""
        assert self.token is not None
        return hmac.compare_digest(shown.encode(), self.token.encode())


def _stopped(request: Request, reason: str) -> Response:
    """No token: a page that asks a person for it, or a refusal to a program."""
    return entrance(reason) if wants_page(request) else refusal(401, reason)


def _place(origin: str) -> str:
    """Name and port in an Origin header; nothing where that is no header of the sort."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(host: str) -> str:
    """The name in a Host header, without the port; nothing where that is no header of the sort."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
