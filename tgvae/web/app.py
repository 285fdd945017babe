"""The page of a run, and its JSON API: FastAPI, the project's own HTML and JavaScript, and Plotly from its package.

Not Gradio: it weighs more than all else here, loads fonts from the network, and has no words coloured by topic, no way
through it by keyboard alone and no form for a phone that would do.

Nothing that comes in is a path, a template or code; nothing goes out to another machine.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tgvae.errors import UserError
from tgvae.models.base import Model
from tgvae.models.summarization import SummaryResult
from tgvae.web import requests, service
from tgvae.web.kept import Kept, static
from tgvae.web.limits import BusyError, Limits, Turns
from tgvae.web.schemas import About, Context, Pictures, Topics
from tgvae.web.security import LOOPBACK, Guard, refusal
from tgvae.web.service import Reading, Sentences

ERROR = {"description": "what is wrong, in words", "content": {"application/json": {"example": {"error": "..."}}}}
BAD: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 411, 413, 422, 429, 500), ERROR)
KINDS = ("constrained-int", "constrained-str")  # what pydantic calls a number and words in the place of an error


def create_app(
    model: Model,
    context: Context,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
) -> FastAPI:
    """The application.

    Args:
        model: what is asked; in evaluation mode.
        context: what is known of its run.
        limits: of what requests may take together.
        token: that requests must bring; None is none.
        hosts: names that the page may be called by; None is any.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="tgvae",
        version=version("tgvae"),
        summary=f"The run {context.about.run}, a {context.about.model}",
        docs_url=None,  # they would load scripts from another machine
        redoc_url=None,
        responses=BAD,
    )
    app.add_middleware(Guard, hosts=hosts, token=token, body=limits.body)
    add_files(app)
    add_kept(app, context)
    add_asked(app, model, Turns(limits))
    add_refusals(app, limits)
    return app


def add_files(app: FastAPI) -> None:
    """The page and what it is made of."""

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return static()["index.html"].answer(request)

    @app.get("/static/{name}", include_in_schema=False)
    def file(request: Request, name: str) -> Response:
        if name not in static():
            raise HTTPException(404)
        return static()[name].answer(request)


def add_kept(app: FastAPI, context: Context) -> None:
    """What is known beforehand."""
    run, topics, pictures = (Kept.json(asdict(part)) for part in (context.about, context.topics, context.pictures))

    @app.get("/api/run", responses={200: {"model": About}})
    def about_run(request: Request) -> Response:
        """The run, what can be asked of it and how much, its corpus, and what is missing."""
        return run.answer(request)

    @app.get("/api/topics", responses={200: {"model": Topics}})
    def all_topics(request: Request) -> Response:
        """Topics by falling share: words, coherence, typical sentences, and prevalence by year and by label."""
        return topics.answer(request)

    @app.get("/api/map", responses={200: {"model": Pictures}})
    def all_pictures(request: Request) -> Response:
        """Pictures of topics and documents, in Plotly's JSON."""
        return pictures.answer(request)


def add_asked(app: FastAPI, model: Model, turn: Turns) -> None:
    """What is asked of the model, one request at a time."""

    @app.post("/api/generate")
    def generate(wish: requests.Generate) -> Sentences:
        """Sentences on a topic, on a mixture of topics, or like a text; freely where none is given."""
        with turn():
            return service.generate(model, wish)

    @app.post("/api/between")
    def between(wish: requests.Between) -> Sentences:
        """Sentences on the way from one to another."""
        with turn():
            return service.between(model, wish)

    @app.post("/api/document")
    def document(wish: requests.Document) -> Reading:
        """The topics of a text, and of its words."""
        with turn():
            return service.read(model, wish)

    @app.post("/api/summarize")
    def summarize(wish: requests.Summarize) -> SummaryResult:
        """Summaries of a text."""
        with turn():
            return service.summarize(model, wish)


def add_refusals(app: FastAPI, limits: Limits) -> None:
    """Every error is ``{"error": reason}``."""
    later = str(max(1, math.ceil(limits.seconds / 2)))
    busy = partial(refusal, 429, "too many requests at once; try again in a moment", retry_after=later)

    @app.exception_handler(UserError)
    def refused(_: Request, error: UserError) -> Response:
        return refusal(400, str(error))

    @app.exception_handler(RequestValidationError)
    def not_as_described(_: Request, error: RequestValidationError) -> Response:
        return refusal(422, "; ".join(map(in_words, error.errors()[:5])))

    @app.exception_handler(BusyError)
    def not_now(_: Request, __: BusyError) -> Response:
        return busy()

    @app.exception_handler(HTTPException)
    def not_here(request: Request, error: HTTPException) -> Response:
        return refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    @app.exception_handler(Exception)
    def failed(_: Request, __: Exception) -> Response:
        return refusal(500, "tgvae failed; what happened stands in the terminal where it runs")


def in_words(error: Any) -> str:
    """What a field has that it must not have."""
    parts = [] if error["type"] == "json_invalid" else error["loc"][1:]
    place = ".".join(str(part) for part in parts if part not in KINDS)
    return f"{place or 'the request'}: {error['msg'].removeprefix('Value error, ')}"
