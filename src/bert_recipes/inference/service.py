"""A classifier as a web service: `POST /predict`, `/predict/file`, `/explain`; health, metrics, a page for people."""

import asyncio
import contextlib
import io
import itertools
import logging
import re
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Coroutine, Sequence
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError
from bert_recipes.evaluation.decoding import predictions_of
from bert_recipes.evaluation.prediction_files import PredictionWriter
from bert_recipes.inference.batches import encode_columns
from bert_recipes.inference.batching import Batcher, PredictionError, QueueFullError
from bert_recipes.inference.leave_one_out import pieces_of, without_each
from bert_recipes.inference.payloads import (
    ExplainRequest,
    Explanation,
    FileQuery,
    Limits,
    PredictedFile,
    Predictions,
    PredictRequest,
    Problem,
    ServedModel,
    answer_of,
    check_rows,
    effects_of,
    parse,
    rows_of,
)
from bert_recipes.inference.rows import TextRow, read_stream
from bert_recipes.inference.rows_predictor import notes_of
from bert_recipes.inference.service_metrics import ServiceMetrics

JSON, BYTES = "application/json", "application/octet-stream"
FILES = (".csv", ".tsv", ".txt", ".jsonl")
# Bytes of a body that are always taken; what goes beyond comes out of a sum for all requests together.
FREE_BYTES = 2**16
# How many bodies of full size may be held at once.
FULL_BODIES = 8
# Seconds to wait when that sum is spent.
SOON = 2
# A client that went before it was answered, in the metrics (nginx's number).
CLIENT_GONE = 499
# The page takes nothing from anywhere, and stands in no other page.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Service:
    """A model, ready to answer requests.

    Args:
        name: what `--model` named.
        predictor: the loaded model.
        limits: of one request.
        most_rows: the most rows that are predicted together; 1 for no batching.
        most_waiting: the most rows that wait.

    Attributes:
        is_stopping: set when the service is to end: what comes is still answered, but `/ready` says no.
    """

    def __init__(self, name: str, predictor: Any, limits: Limits, *, most_rows: int = 64, most_waiting: int = 4096):
        self.predictor, self.limits = predictor, limits
        self.model = ServedModel.of(name, predictor)
        self.metrics = ServiceMetrics(lambda: self.batcher.waiting)
        self.batcher = Batcher(self.predict, most_rows, most_waiting, self.metrics)
        self.is_stopping = False
        self._held = 0  # bytes of bodies beyond the free ones

    def predict(self, rows: Sequence[TextRow]) -> np.ndarray:
        """Return the probabilities `[rows, num_labels]`, or a regression's values."""
        return self.predictor.probabilities_of(rows)

    def notes(self, rows: Sequence[TextRow]) -> list[str]:
        """Return what a client should know of its rows."""
        _, strange = encode_columns(rows, self.predictor.columns, self.predictor.trained_on)
        return notes_of(strange)

    def warm_up(self) -> None:
        """Predict a row, so that no client waits for what the first one costs."""
        pair = "text" if self.model.pair_column else None
        self.predict([TextRow("", "text", pair, dict.fromkeys(self.model.columns))])

    @contextlib.asynccontextmanager
    async def body(self, request: Request, content_type: str) -> AsyncIterator[bytes]:
        """Give the body of a request, which counts as held until the context ends, and what its rows hold of it too.

        Raises:
            UserError: it is of another type.
            HTTPException: it is too large, or too many large ones are held.
        """
        given = request.headers.get("content-type", "nothing").partition(";")[0].strip().lower()
        if given != content_type:
            raise UserError(f"the Content-Type must be {content_type}, and is {given:.40}.")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.limits.body:
            raise self._too_large()
        parts, size, held = [], 0, 0
        try:
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > self.limits.body:
                    raise self._too_large()
                more = max(0, size - FREE_BYTES) - held
                if more > 0 and self._held + more > FULL_BODIES * self.limits.body:
                    raise HTTPException(503, "too many large requests at once: try again soon.", _retry_after(SOON))
                held += more
                self._held += more
            yield b"".join(parts)
        finally:
            self._held -= held

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body may have {self.limits.body:,} bytes: send the texts in several requests.")

    async def probabilities(self, request: Request, rows: Sequence[TextRow]) -> np.ndarray:
        """Predict the rows of a request, unless its client goes away.

        Raises:
            QueueFullError: there is no room for them.
            PredictionError: the model failed on one of them.
            ClientDisconnect: nobody waits any more.
        """
        client = request.client.host if request.client else ""
        return await _unless_gone(request, self.batcher.probabilities(rows, client))

    def rows_of_file(self, body: bytes, query: FileQuery) -> list[TextRow]:
        """Return the rows of a file that was sent, through the reader that `make predict` has.

        Raises:
            UserError: it cannot be read, or has no rows, too many, or others than the model takes.
        """
        suffix = PurePath(query.name).suffix.lower()
        if suffix not in FILES:
            raise UserError(f"name must end in {', '.join(FILES[:-1])} or {FILES[-1]}, and is {query.name!r:.60}.")
        given = {"encoding": query.encoding, "delimiter": query.delimiter}
        trained_on = self.predictor.trained_on
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"file{suffix}"
            path.write_bytes(body)
            try:
                stream = read_stream(
                    str(path),
                    text_column=query.text_column,
                    text_pair_column=query.text_pair_column,
                    id_column=query.id_column,
                    trained_on=trained_on,
                    text_format=TextFormat.of(trained_on | {name: value for name, value in given.items() if value}),
                )
                rows = list(itertools.islice(stream, self.limits.texts + 1))
            except UserError as error:
                raise UserError(_of_a_request(str(error), str(path))) from error
        if not rows:
            raise UserError("the file has no rows.")
        if len(rows) > self.limits.texts:
            raise UserError(f"the file has more than {self.limits.texts:,} rows: cut it, or use make predict.")
        check_rows(rows, self.model, self.limits)
        return rows


def _of_a_request(sentence: str, path: str) -> str:
    """Return what the reader says of a file as one who sent it should read it."""
    named = sentence.replace(f"--input {path}", "the file").replace(path, "the file")
    return re.sub(r"--(\w+)", r"\1", named)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


def create_app(service: Service) -> ASGIApp:
    """Return the service as an ASGI application, which starts and stops the service's queue with itself."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await run_in_threadpool(service.batcher.stop)

    app = FastAPI(
        title="bert-recipes",
        description=f"Predictions of {service.model.name}.",
        version="1",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    _answer_errors(app)
    _add_predictions(app, service)
    _add_state(app, service)
    return _Observed(app, service)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {
        413: "the body is too large",
        422: "the request is wrong",
        429: "this client has too many rows waiting",
        500: "the model failed on a row of this request",
        503: "the queue is full",
    }
    return {status: {"model": Problem, "description": said[status]} for status in statuses}


def _json_body(kind: type[PredictRequest | ExplainRequest]) -> dict[str, Any]:
    """Describe a body that the route reads itself, within the limits."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": kind.model_json_schema()}}}}


def _add_predictions(app: FastAPI, service: Service) -> None:
    problems = _problems(413, 422, 429, 500, 503)

    @app.post("/predict", responses=problems | {200: {"model": Predictions}}, openapi_extra=_json_body(PredictRequest))
    async def predict(request: Request) -> Response:
        """Predict texts, pairs or rows."""
        async with service.body(request, JSON) as body:
            rows = rows_of(parse(body, PredictRequest), service.model, service.limits)
            probabilities = await service.probabilities(request, rows)
        predictions = [answer_of(values, service.model) for values in probabilities]
        return JSONResponse({"predictions": predictions, "notes": service.notes(rows)})

    @app.post("/explain", responses=problems | {200: {"model": Explanation}}, openapi_extra=_json_body(ExplainRequest))
    async def explain(request: Request) -> Response:
        """Predict one text, and say what each of its words changes by being left out."""
        async with service.body(request, JSON) as body:
            (row,) = rows_of(parse(body, ExplainRequest), service.model, service.limits)
            pieces = pieces_of(row)
            probabilities = await service.probabilities(request, [row, *without_each(row, pieces)])
        texts = {"text": row.text, "text_pair": row.text_pair}
        words = effects_of(row, pieces, probabilities, service.model)
        return JSONResponse(answer_of(probabilities[0], service.model) | texts | {"words": words})

    a_file = {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}

    @app.post(
        "/predict/file",
        responses=problems | {200: {"model": PredictedFile}},
        openapi_extra={"requestBody": a_file},
    )
    async def predict_file(request: Request, query: Annotated[FileQuery, Query()]) -> Response:
        """Predict the rows of a file."""
        async with service.body(request, BYTES) as body:
            rows = await run_in_threadpool(service.rows_of_file, body, query)
            probabilities = await service.probabilities(request, rows)
        return JSONResponse(_file_answer(rows, probabilities, service.model) | {"notes": service.notes(rows)})


def _file_answer(rows: Sequence[TextRow], probabilities: np.ndarray, model: ServedModel) -> dict[str, Any]:
    file = io.StringIO(newline="")
    writer = PredictionWriter(file, model.label_names, model.problem_type)
    predictions = predictions_of(probabilities, model.label_names, model.problem_type)
    writer.write((row.id for row in rows), predictions, probabilities)
    shown = [
        {"id": row.id, "text": row.text, "text_pair": row.text_pair} | answer_of(values, model)
        for row, values in zip(rows, probabilities, strict=True)
    ]
    return {"rows": shown, "csv": file.getvalue()}


def _add_state(app: FastAPI, service: Service) -> None:
    page = (files("bert_recipes.inference") / "templates" / "service.html").read_text(encoding="utf-8")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def front_page() -> Response:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Say what the model takes and gives, and what a request may hold."""
        return service.model.described() | {
            "limits": {"texts": service.limits.texts, "characters": service.limits.characters}
        }

    @app.head("/health", include_in_schema=False)
    @app.get("/health", responses={503: {"description": "it has to be started again"}})
    async def health() -> Response:
        """Say whether the service works."""
        alive = service.batcher.is_alive
        return JSONResponse({"status": "ok" if alive else "the thread that predicts has ended"}, 200 if alive else 503)

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", responses={503: {"description": "send requests elsewhere"}})
    async def ready() -> Response:
        """Say whether requests should be sent here."""
        ready = service.batcher.is_alive and not service.is_stopping
        return JSONResponse({"status": "ready" if ready else "stopping"}, 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)


def _retry_after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _problem(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers=headers)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    async def wrong(request: Request, error: UserError) -> Response:
        return _problem(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _problem(422, f"{first['loc'][-1]!s:.40}: {first['msg'].lower()}.")

    @app.exception_handler(QueueFullError)
    async def full(request: Request, error: QueueFullError) -> Response:
        said = "you have too many rows waiting" if error.of_client else "too many rows are waiting"
        sentence = f"{said}: try again in {error.seconds} seconds."
        return _problem(429 if error.of_client else 503, sentence, _retry_after(error.seconds))

    @app.exception_handler(PredictionError)
    async def failed(request: Request, error: PredictionError) -> Response:
        return _problem(500, f"{error}.")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, error.detail, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return _problem(500, "the service failed on this request: its log says where.")


class _Observed:
    """The application, with requests counted, failures logged without texts, and at the end connections closed."""

    def __init__(self, app: FastAPI, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.service.is_stopping:
                    # So that no client sends its next request to a connection that is about to close.
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        try:
            await self.app(scope, receive, observed)
        # Starlette has answered it with 500, and raises it for the server to log, whose log would quote it.
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("a request failed with %s\n%s", type(error).__name__, where)
        route = getattr(scope.get("route"), "path", "other")
        self.service.metrics.request(route, status, time.monotonic() - started)
