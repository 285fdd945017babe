"""The web page of a run and its JSON API: FastAPI, static HTML and JavaScript, and Plotly's script from its package.

Gradio was not used: it is larger than everything here, loads fonts from the network, cannot mark words by topic, and
is hard to use by keyboard or on a phone.

Request data is never used as a path, a template or code, and nothing is sent to other machines.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

from tgvae.errors import UserError
from tgvae.evaluation.html_report import STYLE
from tgvae.models.base import Model
from tgvae.models.summarization import SummaryResult
from tgvae.web import schemas, service
from tgvae.web.security import LOOPBACK, STATIC, AccessMiddleware, error_response
from tgvae.web.service import BusyError, Limits, ModelSlots

ERROR = {"description": "Error message", "content": {"application/json": {"example": {"error": "..."}}}}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 411, 413, 422, 429, 500), ERROR)


def create_app(
    model: Model,
    data: schemas.PageData,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = LOOPBACK,
) -> FastAPI:
    """Create the application.

    Args:
        model: in evaluation mode.
        data: what ``collect_page_data`` found.
        limits: on all requests together.
        token: required from every request; None disables the check.
        hosts: accepted host names; None accepts any.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="tgvae",
        version=version("tgvae"),
        summary=f"Run {data.run.run}, a {data.run.model}",
        docs_url=None,  # its page would load scripts from another server
        redoc_url=None,
        responses=ERRORS,
    )
    # The middleware added last runs first.
    app.add_middleware(GZipMiddleware, compresslevel=5)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(AccessMiddleware, token=token, max_bytes=limits.body)
    _add_files(app)
    _add_page_data(app, data)
    _add_model(app, model, ModelSlots(limits))
    _add_error_handlers(app, limits)
    return app


def _add_files(app: FastAPI) -> None:
    static = StaticFiles(directory=STATIC)
    app.mount("/static", static)
    app.mount("/plotly", StaticFiles(packages=[("plotly", "package_data")]))

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await static.get_response("index.html", request.scope)

    @app.get("/report.css", include_in_schema=False)
    def report_style() -> Response:
        return Response(STYLE, media_type="text/css")


def _add_page_data(app: FastAPI, data: schemas.PageData) -> None:
    # Serialised once: plots of large corpora have several megabytes.
    run, topics, plots = (
        json.dumps(asdict(part), ensure_ascii=False, allow_nan=False).encode()
        for part in (data.run, data.topics, data.plots)
    )

    @app.get("/api/run", responses={200: {"model": schemas.RunInfo}})
    def get_run() -> Response:
        """Get name, model, capabilities, limits and corpus of the run."""
        return Response(run, media_type="application/json")

    @app.get("/api/topics", responses={200: {"model": schemas.TopicList}})
    def get_topics() -> Response:
        """Get all topics by decreasing share, with words, coherence, typical sentences and prevalence."""
        return Response(topics, media_type="application/json")

    @app.get("/api/plots", responses={200: {"model": schemas.PlotList}})
    def get_plots() -> Response:
        """Get plots of topics and documents in Plotly's JSON format."""
        return Response(plots, media_type="application/json")


def _add_model(app: FastAPI, model: Model, slots: ModelSlots) -> None:
    @app.post("/api/generate")
    def generate(request: schemas.GenerateRequest) -> schemas.Sentences:
        """Generate sentences for a topic, a mixture of topics or a text, or without guidance."""
        with slots.acquire():
            return service.generate(model, request)

    @app.post("/api/interpolate")
    @app.post("/api/between", include_in_schema=False)  # its name before version 0.2
    def interpolate(request: schemas.InterpolateRequest) -> schemas.Sentences:
        """Generate sentences between two sentences."""
        with slots.acquire():
            return service.interpolate(model, request)

    @app.post("/api/document")
    def document(request: schemas.DocumentRequest) -> schemas.DocumentTopics:
        """Infer the topics of a text and of its words."""
        with slots.acquire():
            return service.infer_topics(model, request)

    @app.post("/api/summarize")
    def summarize(request: schemas.SummarizeRequest) -> SummaryResult:
        """Summarize a text."""
        with slots.acquire():
            return service.summarize(model, request)


def _add_error_handlers(app: FastAPI, limits: Limits) -> None:
    """Return every error as ``{"error": message}``."""
    retry = {"Retry-After": str(max(1, math.ceil(limits.seconds / 2)))}

    @app.exception_handler(UserError)
    def user_error(_: Request, error: UserError) -> Response:
        return error_response(400, str(error))

    @app.exception_handler(RequestValidationError)
    def validation_error(_: Request, error: RequestValidationError) -> Response:
        return error_response(422, "; ".join(map(_validation_message, error.errors()[:5])))

    @app.exception_handler(BusyError)
    def busy(_: Request, __: BusyError) -> Response:
        return error_response(429, "too many requests at once; try again in a moment", retry)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    @app.exception_handler(Exception)
    def bug(_: Request, __: Exception) -> Response:
        return error_response(500, "internal error; the terminal where tgvae runs shows the details")


def _validation_message(error: Any) -> str:
    """Return "field: what is wrong"; pydantic's location also names types such as "constrained-int", left out here."""
    parts = [] if error["type"] == "json_invalid" else error["loc"][1:]
    field = ".".join(str(part) for part in parts if not str(part).startswith("constrained-"))
    return f"{field or 'the request'}: {error['msg'].removeprefix('Value error, ')}"
