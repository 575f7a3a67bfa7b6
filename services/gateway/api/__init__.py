"""The public API: the application with its routes, problems and documents."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asyncpg.exceptions import (
    DataError,
    InterfaceError,
    PostgresConnectionError,
    UndefinedColumnError,
    UndefinedTableError,
)
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from libs.common.http import OURS, Observed
from services.gateway.api import (
    backfills,
    catalog,
    dead_letters,
    decisions,
    explain,
    governance,
    kpis,
    reveals,
    session,
    signals,
    sources,
    static,
    streams,
)
from services.gateway.api.asyncapi import asyncapi
from services.gateway.api.desk import Desk
from services.gateway.api.hub import Hub
from services.gateway.api.openapi import Api
from services.gateway.api.problems import Refused

log = logging.getLogger(__name__)

VERSION = "1.0.0"
"""Of the public API."""

_TAGS = [
    {"name": "session", "description": "Sign-in, and who one is."},
    {"name": "sources", "description": "Sources, and the door for their events."},
    {"name": "kpis", "description": "Values, trends, history as known at any moment."},
    {"name": "explain", "description": "Why a number is what it is."},
    {"name": "signals", "description": "What left its limits, and whether that is noise or a change."},
    {"name": "playbooks", "description": "What is done about it, step by step."},
    {"name": "decisions", "description": "What was decided, and on what."},
    {"name": "annotations", "description": "Remarks on charts."},
    {"name": "objectives", "description": "What it is all for."},
    {"name": "incidents", "description": "Where the data is not right."},
    {"name": "backfills", "description": "The past computed again."},
    {"name": "ledger", "description": "Nothing is lost in silence."},
    {"name": "dead letters", "description": "What was refused, and sending it again."},
    {"name": "audit", "description": "Who saw and did what."},
    {"name": "retention", "description": "What is disposed of."},
    {"name": "catalog", "description": "Definitions as code."},
    {"name": "streams", "description": "The same, live. WebSocket: see `/asyncapi.json`."},
]
_ROUTERS = (
    session, sources, dead_letters, kpis, explain, signals, decisions, governance, reveals, backfills, catalog,
    streams,
)  # fmt: skip


def create_app(desk: Desk | None = None) -> FastAPI:
    """The application. Without a desk it can only describe itself."""
    app = Api(
        title="Sextant",
        version=VERSION,
        telemetry=OURS,
        description="Real-time strategic monitoring. Errors are RFC 9457 problems with a stable `code`. Times are "
        "RFC 3339. Lists are keyset pages. Writes take an `Idempotency-Key`. What the asker may not see is masked: "
        "`~…` is a pseudonym, `•…` a redacted dimension value that still names its series, null a redacted field.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=_TAGS,
        separate_input_output_schemas=False,
        # The framework's pages load their scripts from elsewhere, which the content policy does not allow.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    if desk is not None:
        app.state.desk = desk
        app.state.hub = Hub(desk)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.get("/asyncapi.json", include_in_schema=False)(_asyncapi)
    app.include_router(static.router)
    _problems(app)
    app.middleware("http")(_secured)
    app.add_middleware(Observed)
    return app


async def _asyncapi() -> dict[str, Any]:
    return asyncapi(VERSION)


async def _secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Headers that hold for every answer."""
    desk: Desk | None = getattr(request.app.state, "desk", None)
    if desk is not None and request.url.path.startswith("/v1/") and not desk.loaded():
        starting = Refused(503, "starting", "the catalog is being read", headers={"retry-after": "1"})
        return _answer(starting)
    response = await call_next(request)
    for name, value in static.SECURITY.items():
        response.headers.setdefault(name, value)
    if request.url.path.startswith("/v1/"):
        response.headers.setdefault("cache-control", "no-store")
    return response


def _answer(error: Refused) -> JSONResponse:
    return JSONResponse(
        error.problem().model_dump(mode="json", exclude_none=True),
        error.status,
        headers=error.headers,
        media_type="application/problem+json",
    )


def _problems(app: FastAPI) -> None:
    """Every error becomes a problem with a code."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return _answer(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # Never the input itself: it may be a password.
        errors = [
            {"location": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])}
            for item in error.errors()
        ]
        first = errors[0]
        return _answer(Refused(422, "invalid", f"{first['location']}: {first['message']}", errors=errors))

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        codes = {404: "not_found", 405: "method_not_allowed"}
        return _answer(
            Refused(error.status_code, codes.get(error.status_code, "bad_request"), str(error.detail))
        )

    async def missing(_: Request, error: Exception) -> Response:
        log.warning("a view is missing", extra={"fields": {"error": str(error)}})
        return _answer(Refused(503, "views_missing", "a service has not published its views yet"))

    async def unstorable(_: Request, error: Exception) -> Response:
        return _answer(Refused(422, "invalid", f"a value is none that can be stored: {error}"))

    async def unavailable(_: Request, error: Exception) -> Response:
        if isinstance(error, ValueError):  # asyncpg's own refusal of a parameter
            return await unstorable(_, error)
        log.warning("a store does not answer", extra={"fields": {"error": repr(error)}})
        return _answer(Refused(503, "unavailable", "a store does not answer", headers={"retry-after": "2"}))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(DataError, unstorable)
    for gone in (UndefinedTableError, UndefinedColumnError):
        app.add_exception_handler(gone, missing)
    for down in (RedisError, PostgresConnectionError, InterfaceError, ConnectionError, TimeoutError):
        app.add_exception_handler(down, unavailable)
