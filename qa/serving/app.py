"""The service as an ASGI application: its addresses, and what each answers."""

import asyncio
import gzip
import hashlib
import json
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.routing import Route

from qa.answering.answerer import QuestionAnswerer
from qa.answering.work import Ask
from qa.errors import UserError, one_line
from qa.evaluation.metrics import v2_scores
from qa.serving import schemas
from qa.serving.corrections import Correction, Corrections
from qa.serving.extraction import Extractor
from qa.serving.guard import FAULT_MESSAGE, OPEN_PATHS, PAGE_FILES, GuardMiddleware
from qa.serving.hub import from_hub_request, to_hub_answer
from qa.serving.limits import Limits, Refused
from qa.serving.service import AnswerService
from qa.serving.uploads import QuestionsResponse
from qa.serving.wording import complaint

FILE = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}
FileName = Annotated[str, Query(min_length=1, max_length=1000)]  # its ending tells the kind
JSON_LINES: dict[str, Any] = {"application/x-ndjson": {"schema": {"type": "string"}}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorResponse, "description": words}
    for status, words in {
        400: "The body is not JSON",
        401: "The token is missing or wrong",
        403: "The Host or Origin is not of this service",
        408: "The request arrived too slowly",
        413: "The request is too large",
        415: "The body is compressed, or of another kind",
        422: "The request cannot be understood",
        429: "Too many requests of this address",
        500: "A fault of the service",
        503: "Too much waits, or the service stops",
        504: "The answer took too long",
    }.items()
}


def make_app(
    answerer: QuestionAnswerer,
    name: str,
    corrections: Corrections,
    limits: Limits,
    token: str | None,
    hosts: Iterable[str],
) -> FastAPI:
    """Makes the service of a model. When the application stops, its threads answer what waits, and end."""
    service = AnswerService(answerer, name, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.batcher.close)

    app = FastAPI(title="Question answering", lifespan=lifespan, docs_url=None, redoc_url=None, responses=REFUSALS)
    _add_answers(app, service)
    _add_status(app, service, corrections)
    _add_learning(app, service, corrections)
    for path, file in PAGE_FILES.items():
        app.get(path, include_in_schema=False)(_file(file))
    _add_errors(app)
    if token:
        _describe_token(app.openapi())
    routes = {route.path for route in app.routes}  # type: ignore[attr-defined]
    app.add_middleware(GuardMiddleware, limits=limits, metrics=service.metrics, token=token, hosts=hosts, routes=routes)
    return app


def _add_answers(app: FastAPI, service: AnswerService) -> None:
    @app.post("/answer")
    async def answer(request: schemas.AnswerRequest) -> schemas.AnswerResponse:
        """Answers one question, or several."""
        answers = await service.answers(request.all_items(), request.options.library())
        return schemas.AnswerResponse(answers=[schemas.AnswerBody.of(one) for one in answers])

    @app.post("/answer/stream", response_class=StreamingResponse, responses={200: {"content": JSON_LINES}})
    async def stream(request: schemas.OneRequest) -> StreamingResponse:
        """Answers one question of a long text: lines of JSON with the answer so far, and the windows that are done."""
        states = service.watch(request, request.options.library())
        return StreamingResponse(_lines(states), media_type="application/x-ndjson")

    @app.post("/", name="hub")
    @app.post("/v1/question-answering", name="hub_v1")
    async def hub_task(request: schemas.HubRequest) -> schemas.HubAnswer | list[schemas.HubAnswer]:
        """The hub's question-answering task; a list where `top_k` is more than 1."""
        service.check([Ask(request.inputs.question, [request.inputs.context])])
        job = await asyncio.to_thread(from_hub_request, request, service.answerer)
        answers = await service.wait(job)
        return to_hub_answer(answers[0], job.options.top_k)


async def _lines(states: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for state in states:
            yield json.dumps(state) + "\n"
    except UserError as error:
        yield json.dumps({"error": str(error)}) + "\n"
    except RuntimeError:  # the batcher has logged it
        yield json.dumps({"error": FAULT_MESSAGE}) + "\n"


def _add_status(app: FastAPI, service: AnswerService, corrections: Corrections) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process lives, and the threads of its model."""
        if not service.batcher.is_alive:
            raise Refused(503, "a thread of the model has ended; start the service again")
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        """Whether a question would be accepted now."""
        if not service.batcher.is_ready:
            raise Refused(503, "not ready; try again in a few seconds", {"Retry-After": "2"})
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/model")
    async def model() -> schemas.ModelInfo:
        """The model that is served, and its limits."""
        return service.info(corrections.count)


def _add_learning(app: FastAPI, service: AnswerService, corrections: Corrections) -> None:
    extractor = Extractor()

    @app.post("/texts", openapi_extra={"requestBody": FILE})
    async def text(request: Request, name: FileName) -> schemas.TextResponse:
        """The plain text of a file: txt, md, html, docx or pdf."""
        content = await extractor.extract("text", name, await request.body())
        return schemas.TextResponse(name=name, text=content.decode())

    @app.post("/questions", openapi_extra={"requestBody": FILE}, response_model=QuestionsResponse)
    async def questions(request: Request, name: FileName) -> Response:
        """The questions of a file of any kind that training reads."""
        content = await extractor.extract("questions", name, await request.body())
        return Response(content, media_type="application/json")  # FastAPI's own way takes seconds for a large file

    @app.post("/grade")
    async def grade(request: schemas.GradeRequest) -> schemas.Grade:
        """Grades a learner's answer."""
        exact, f1 = await asyncio.to_thread(v2_scores, request.given, request.answers)
        return schemas.Grade(exact_match=exact == 1, f1=100 * f1)

    @app.post("/corrections")
    async def correct(correction: Correction) -> schemas.Corrected:
        """Keeps the right answer of a question, for training."""
        name, added = await asyncio.to_thread(corrections.add, correction, service.name, service.content)
        return schemas.Corrected(id=name, corrections=corrections.count, added=added)

    @app.delete("/corrections")
    async def withdraw(name: Annotated[str, Query(alias="id", max_length=100)]) -> schemas.Withdrawn:
        """Undoes a correction by its id: training no longer reads it."""
        withdrawn = await asyncio.to_thread(corrections.withdraw, name)
        return schemas.Withdrawn(corrections=corrections.count, withdrawn=withdrawn)


def _describe_token(schema: dict[str, Any]) -> None:
    """Says in an OpenAPI schema which addresses want the token."""
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}]
    for path in OPEN_PATHS & schema["paths"].keys():
        schema["paths"][path].get("get", {})["security"] = []


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    plain = path.read_bytes()
    packed = gzip.compress(plain, mtime=0)
    tag = f'W/"{hashlib.blake2b(plain, digest_size=8).hexdigest()}"'
    kind = mimetypes.guess_type(path.name)[0]
    headers = {"Cache-Control": "no-cache", "ETag": tag, "Vary": "Accept-Encoding"}

    async def send(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, 200, {**headers, "Content-Encoding": "gzip"}, kind)
        return Response(plain, 200, headers, kind)

    return send


def _add_errors(app: FastAPI) -> None:
    def refusal(_: Request, error: Exception) -> JSONResponse:
        status, headers = (error.status, error.headers) if isinstance(error, Refused) else (422, None)
        return JSONResponse({"error": one_line(error)}, status, headers)

    def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["loc"][0] == "body" and "json" not in request.headers.get("content-type", ""):
            return JSONResponse({"error": "Content-Type: send application/json"}, 415)
        if first["type"] == "json_invalid":
            return JSONResponse({"error": f"body: not JSON (character {first['loc'][1]})"}, 400)
        return JSONResponse({"error": complaint(first)}, 422)

    def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        routes = [route for route in app.routes if isinstance(route, Route) and route.path == request.url.path]
        methods = {method for route in routes for method in route.methods or ()}
        allowed = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
        detail = f"{error.detail}; the addresses are in /openapi.json" if error.status_code == 404 else error.detail
        return JSONResponse({"error": detail}, error.status_code, {"Allow": allowed} if routes else None)

    app.add_exception_handler(UserError, refusal)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
