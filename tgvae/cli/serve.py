"""`tgvae serve`: a web page and a JSON API for a run."""

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
from tgvae.cli.output import print_next_steps
from tgvae.config_io import require_range
from tgvae.data.corpus import Corpus
from tgvae.errors import UserError
from tgvae.models.base import Capability, Model
from tgvae.progress import showing, step
from tgvae.runs import load_run, open_folder
from tgvae.web.service import Limits

SHUTDOWN_SECONDS = 3  # that running requests have to finish after Ctrl-C
MOVED = "It was moved or changed; `tgvae serve RUN --data FOLDER` says where it is now."
SHOWN = {Capability.TOPICS, Capability.GENERATION, Capability.LATENT, Capability.SUMMARIES}


@dataclass(frozen=True)
class Serve:
    """Serve a web page for a run, and a JSON API: topics, mixtures of topics, documents, interpolation, plots.

    It needs no network access. By default only this machine can connect; with any other --host, requests need a token.

    Examples:
      tgvae serve runs/sotu
      tgvae serve runs/sotu --host 0.0.0.0 --port 8080
    """

    run: tyro.conf.Positional[Path]
    """A run folder of a text model."""
    data: Path | None = None
    """The prepared folder, if it was moved; if it is missing, the page shows less."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 means all addresses of this machine."""
    port: int = 8000
    """Port to listen on; 0 picks a free one."""
    token: str | None = None
    """Required from every request; by default one is made and printed if the host is not this machine."""
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
        from tgvae.web.page_data import collect_page_data
        from tgvae.web.security import LOOPBACK, new_token
    except ImportError as error:
        raise UserError(f"`tgvae serve` needs FastAPI and uvicorn: pip install 'tgvae[web]' ({error})") from None
    require_device(options.device)
    model = load_run(options.run, options.device)
    if not SHOWN & model.capabilities:
        raise UserError(f"{options.run}: a {model.kind} has neither topics nor sentences; give a run of a text model")
    local = is_loopback(options.host)
    token = options.token or (None if local else new_token())
    with listen(options.host, options.port) as listener:
        corpus, missing = find_corpus(options, model)
        with step("preparing the page"):
            data = collect_page_data(model, options.run.resolve().name, corpus, missing, _report)
        app = create_app(model, data, options.limits, token, {*LOOPBACK, options.host.lower()} if local else None)
        address = address_of(listener, token)
        if options.json:
            print(json.dumps({"run": str(options.run), "address": address, "token": token}), flush=True)
        else:
            print(f"serving {options.run}: {address}", flush=True)
            print_next_steps(steps=["open the address in a browser; Ctrl-C stops the server"])
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS, server_header=False, ws="none"
        )
        with suppress(KeyboardInterrupt), showing(False):
            uvicorn.Server(config).run([listener])
        _report("stopped")


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def find_corpus(options: Serve, model: Model) -> tuple[Corpus | None, str]:
    """Return the training documents, or None and a message for visitors, which does not reveal paths of this machine.

    Raises:
        UserError: --data names another corpus.
    """
    if model.data_type != "text":
        return None, ""
    try:
        return Corpus(open_folder(options.run, options.data), "train"), ""
    except UserError as error:
        if options.data:
            raise
        _report(f"without the corpus: {error}")
        return None, MOVED


def require_token(token: str | None) -> None:
    """Raises UserError for an empty token, such as an unset shell variable, or one that no HTTP header can hold."""
    if token == "":
        raise UserError("--token is empty, so anyone could connect; give a token, or leave out --token")
    if token and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise UserError("--token has characters that no HTTP header can hold; use letters, digits and - . _ ~")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises UserError if the address cannot be used."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}, port {port} ({error}); choose another --port or --host") from error


def address_of(listener: socket.socket, token: str | None) -> str:
    """Return the address to open in a browser."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    query = f"?token={quote(token, safe='')}" if token else ""
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/{query}"
