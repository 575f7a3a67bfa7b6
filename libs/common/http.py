"""HTTP at both ends: an application with health, metrics and problem+json, and a client for it."""

import json
import logging
from functools import cache, cached_property
from http import HTTPStatus
from typing import Any

import httpx
from asyncpg.exceptions import DataError
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from opentelemetry import context as contexts
from opentelemetry import propagate
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import clock, telemetry
from libs.common.errors import Invalid, Problem
from libs.common.service import Health

log = logging.getLogger(__name__)
PROBLEM = "application/problem+json"
OURS: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's own telemetry would be a second span for each request; see `Observed`."""


class Application(FastAPI):
    """Asks `Direct` routes before anything else: they need none of the layers that a request else goes through."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self.direct:
                found = route.path_regex.match(scope["path"])
                if found and scope["method"] in route.methods:
                    await route.answer(
                        {**scope, "route": route, "path_params": found.groupdict()}, receive, send
                    )
                    return
        await super().__call__(scope, receive, send)

    @cached_property
    def direct(self) -> list["Direct"]:
        return [route for route in self.router.routes if isinstance(route, Direct)]


def application(name: str, health: Health, *routers: APIRouter, **options: Any) -> FastAPI:
    """A FastAPI application with `/health/live`, `/health/ready`, `/metrics` and problem+json errors."""
    app = Application(title=f"Sextant {name}", telemetry=OURS, **options)
    operations(app, health)
    # As they are: a router that is included is gone through in a slower way for each request.
    for router in routers:
        app.router.routes[:0] = router.routes
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(DataError, _answer_data)
    app.add_middleware(Observed)
    return app


class Direct(APIRoute):
    """A route whose endpoint is given the request and the parameters of its path, texts, as they are, and reads the rest
    by itself: for what is asked thousands of times a second. FastAPI only documents it."""

    @cached_property
    def answer(self) -> ASGIApp:
        """The whole way of a request."""
        return Observed(self._answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self.endpoint(request=request, **scope["path_params"])
        except Problem as problem:
            response = problem_response(problem)
        except DataError as error:
            response = problem_response(not_storable(error))
        await response(scope, receive, send)


def operations(app: FastAPI, health: Health) -> None:
    """Adds what an operator asks for, before any other route."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        failing = health.failing
        status = "not ready" if failing else "ready"
        return JSONResponse({"status": status, "failing": failing}, 503 if failing else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    app.router.routes[:0] = router.routes


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    headers = dict(headers or {})
    if "retry_after" in problem.more:
        headers["Retry-After"] = str(problem.more["retry_after"])
    return JSONResponse(problem.body(), problem.status, headers, PROBLEM)


async def _answer_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _answer_data(request: Request, error: Exception) -> JSONResponse:
    return problem_response(not_storable(error))


def not_storable(error: Exception) -> Invalid:
    """What passed our own checks and PostgreSQL cannot hold, such as a NUL in a text."""
    return Invalid(f"a value is none that can be stored: {error}")


async def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [
        {
            "field": ".".join(str(part) for part in fault["loc"]),
            "rule": fault["msg"],
            "value": _short(fault.get("input")),
        }
        for fault in error.errors()
    ]
    first = faults[0]
    return problem_response(
        Invalid(f"{first['field']}: {first['rule']}", code="invalid_request", errors=faults)
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:99] + "…"


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    problem = Problem(str(error.detail), code=phrase.lower().replace(" ", "_"), status=error.status_code)
    problem.title = phrase
    return problem_response(problem, dict(error.headers or {}))


_TRACE = {name.encode(): name for name in propagate.get_global_textmap().fields}


@cache
def _seconds(method: str, route: str, status: str) -> Histogram:
    return telemetry.HTTP_SECONDS.labels(method, route, status)


class Observed:
    """ASGI middleware: a span and a measurement per request; what nobody foresaw becomes a 500 with a trace id and no
    more."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, answered = clock.monotonic(), False

        async def sent(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                route, status = getattr(scope.get("route"), "path", "unknown"), str(message["status"])
                _seconds(scope["method"], route, status).observe(clock.monotonic() - began)
            await send(message)

        given = {_TRACE[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _TRACE}
        context = propagate.extract(given) if given else None
        span = telemetry.tracer.start_span(f"{scope['method']} {scope['path']}", context, SpanKind.SERVER)
        # As `start_as_current_span` does it, in less than half of the time.
        outside = contexts.attach(set_span_in_context(span, context))
        try:
            await self.app(scope, receive, sent)
        except Exception as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR))
            log.exception("unexpected", extra={"fields": {"path": scope["path"]}})
            if answered:
                raise
            trace_id = f"{span.get_span_context().trace_id:032x}"
            fault = Problem("The fault is ours and has been logged.", trace_id=trace_id)
            await problem_response(fault)(scope, receive, sent)
        finally:
            contexts.detach(outside)
            span.end()


async def propagate_trace(request: httpx.Request) -> None:
    """A hook for clients: the trace goes on at whoever is asked."""
    propagate.inject(request.headers)


async def _raise_problem(response: httpx.Response) -> None:
    if response.is_success or response.is_redirect:
        return
    await response.aread()
    try:
        body = response.json()
    except json.JSONDecodeError:
        body = {}
    standard = ("type", "title", "status", "detail", "code")
    more = {name: value for name, value in body.items() if name not in standard}
    problem = Problem(
        body.get("detail", response.text[:200]), code=body.get("code"), status=response.status_code, **more
    )
    problem.title = body.get("title", response.reason_phrase)
    raise problem


def client(base_url: str, timeout: float = 30.0) -> httpx.AsyncClient:
    """A client for a service of ours: passes the trace on, raises the Problem that was answered."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=timeout,
        trust_env=False,
        event_hooks={"request": [propagate_trace], "response": [_raise_problem]},
    )
