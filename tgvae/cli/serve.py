"""`tgvae serve`: a page to play with a run."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import tyro

from tgvae.cli.options import parse, require_device
from tgvae.cli.output import end
from tgvae.config_io import require_range
from tgvae.data.corpus import Corpus
from tgvae.errors import UserError
from tgvae.models.base import TextModel
from tgvae.progress import showing, step
from tgvae.runs import load_run, open_folder
from tgvae.web.limits import Limits

LEAVING = 3  # seconds that requests have to end when the server is stopped
MISSING = "It is not where it was, or not as it was; `tgvae serve RUN --data FOLDER` says where it is."


@dataclass(frozen=True)
class Serve:
    """A page to play with a run, and a JSON API: topics, mixtures of them, documents, walks between sentences, maps.

    It needs no network. On this machine alone unless --host says otherwise, and then whoever comes must bring a token.

    Examples:
      tgvae serve runs/sotu
      tgvae serve runs/sotu --host 0.0.0.0 --port 8080
    """

    run: tyro.conf.Positional[Path]
    """A run folder of a text model."""
    data: Path | None = None
    """Where the prepared folder is now, if it has moved; the page does without where it is gone."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is all of this machine's."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    token: str | None = None
    """What requests must bring; made, and printed, for any other host than this machine."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""
    json: bool = False
    """Print address and token as a JSON object."""
    limits: Limits = field(default_factory=Limits)


def main(arguments: Sequence[str]) -> None:
    options = parse(Serve, "serve", arguments)
    require_range(options, 0, 65536, "port")
    require_token(options.token)
    try:
        import uvicorn

        from tgvae.web.app import create_app
        from tgvae.web.page_data import look
        from tgvae.web.security import LOOPBACK, new_token
    except ImportError as error:
        raise UserError(f"the page needs FastAPI and uvicorn: pip install 'tgvae[web]' ({error})") from None
    require_device(options.device)
    model = load_run(options.run, options.device)
    if not isinstance(model, TextModel):
        raise UserError(f"{options.run}: a {model.kind} has neither topics nor sentences; give a run of a text model")
    at_home = is_loopback(options.host)
    token = options.token or (None if at_home else new_token())
    with listening(options.host, options.port) as listener:
        corpus, missing = corpus_of(options)
        with step("fork_rng the maps"):
            context = look(model, options.run.resolve().name, corpus, missing, tell)
        app = create_app(model, context, options.limits, token, LOOPBACK | {options.host.lower()} if at_home else None)
        place = address(listener, token)
        if options.json:
            print(json.dumps({"run": str(options.run), "address": place, "token": token}), flush=True)
        else:
            print(f"serving {options.run}: {place}", flush=True)
            end(then=["open the address in a browser; Ctrl-C ends"])
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=LEAVING, server_header=False, ws="none"
        )
        with suppress(KeyboardInterrupt), showing(False):
            uvicorn.Server(config).run([listener])
        tell("stopped")


def tell(text: str) -> None:
    """To the user, beside the output."""
    print(text, file=sys.stderr, flush=True)


def corpus_of(options: Serve) -> tuple[Corpus | None, str]:
    """The training documents of the run, or why they are not there. Raises UserError where --data has others.

    Visitors are told no more than they need: the error has paths of this machine.
    """
    try:
        return Corpus(open_folder(options.run, options.data), "train"), ""
    except UserError as error:
        if options.data:
            raise
        tell(f"without the corpus: {error}")
        return None, MISSING


def require_token(token: str | None) -> None:
    """Raises UserError for a token that is empty, as of an unset variable, or that a header cannot carry."""
    if token == "":
        raise UserError("--token is empty, which would let everyone in; give one, or leave --token out")
    if token and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise UserError("--token has what a header cannot carry; use letters from a to z, digits and - . _ ~")


def is_loopback(host: str) -> bool:
    """Whether only this machine can come there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UserError where that cannot be."""
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen at {host}, port {port} ({error}); choose another --port or --host") from error


def address(listener: socket.socket, token: str | None) -> str:
    """What to open in a browser."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/" + (
        f"?token={quote(token, safe='')}" if token else ""
    )
