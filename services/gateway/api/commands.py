"""Writes: allowed, done once, passed to the owning service, on record before they are answered."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from libs.common.catalog.models import Permission
from services.gateway.api.asking import Asker
from services.gateway.api.models.signals import Outcome
from services.gateway.api.problems import Refused, not_found
from services.gateway.store import idempotency

_OWN = frozenset({"type", "title", "status", "detail", "code", "instance"})


def _person(asker: Asker) -> dict[str, str]:
    """The headers in which the person is passed on (ARCHITECTURE section 6)."""
    headers = {
        "x-sextant-subject": asker.principal.subject,
        "x-sextant-roles": ",".join(asker.principal.roles),
    }
    if asker.principal.department:
        headers["x-sextant-department"] = asker.principal.department
    return headers


def refusal(answer: httpx.Response) -> Refused:
    """A service's problem as ours: status, code and particulars pass through, and when to come again.

    5xx becomes 503; one that says whether it helps to try again keeps its code too.
    """
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    if answer.status_code >= 500 and "retryable" not in problem:
        return Refused(503, "unavailable", str(problem.get("detail") or "a service failed"))
    extra = {name: value for name, value in problem.items() if name not in _OWN}
    if "errors" in extra:
        # Without the values: they may be what nobody should read again.
        extra["errors"] = [
            {"location": str(each.get("field")), "message": str(each.get("rule"))} for each in extra["errors"]
        ]
    status = min(answer.status_code, 503)
    again = answer.headers.get("retry-after")
    return Refused(
        status,
        str(problem.get("code") or "refused"),
        str(problem.get("detail") or ""),
        headers={"retry-after": again} if again else None,
        **extra,
    )


def _address(asker: Asker, service: str, path: str) -> str:
    """Where a command goes. Parts of the path are the client's own words: encoded, so that none leads elsewhere."""
    parts = path.split("/")
    if {".", ".."} & set(parts):
        raise not_found(path)
    return asker.desk.settings.address(service) + "/".join(quote(part, safe="") for part in parts)


async def call(asker: Asker, service: str, method: str, path: str, body: Any = None) -> Any:
    """One command to `service`; its JSON answer, or Refused with its problem."""
    url = _address(asker, service, path)
    try:
        answer = await asker.desk.commands.request(method, url, json=body, headers=_person(asker))
    # NaN, or half a character, is read all the same, and is no JSON.
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused(400, "bad_request", str(error)) from error
    except httpx.HTTPError as error:
        raise Refused(503, "unavailable", f"{service} does not answer") from error
    if answer.status_code >= 400:
        raise refusal(answer)
    return answer.json() if answer.content else {}


async def forward(asker: Asker, service: str, path: str, body: Any) -> dict[str, Any]:
    """Pass a write on; the answer in the shape that every write has."""
    result = await call(asker, service, "POST", path, body)
    result = result if isinstance(result, dict) else {"items": result}
    return outcome(result).model_dump(mode="json")


def outcome(result: dict[str, Any]) -> Outcome:
    id, state = result.get("id"), result.get("state")
    return Outcome(
        id=None if id is None else str(id), state=None if state is None else str(state), result=result
    )


async def stream_through(
    asker: Asker, service: str, path: str, *, query: str, content: AsyncIterator[bytes], headers: Mapping[str, str],
    action: str, resource: str,
) -> Response:  # fmt: skip
    """Pass a body on as it comes, and the answer back as it is; on record before it is answered."""
    url = _address(asker, service, path) + (f"?{query}" if query else "")
    try:
        answer = await asker.desk.commands.post(url, content=content, headers={**headers, **_person(asker)})
    except Refused:
        await asker.record(action, resource, "refused")
        raise
    except httpx.InvalidURL as error:
        await asker.record(action, resource, "refused")
        raise Refused(400, "bad_request", str(error)) from error
    except httpx.HTTPError as error:
        await asker.record(action, resource, "failed")
        raise Refused(503, "unavailable", f"{service} does not answer") from error
    if answer.status_code >= 400:
        await asker.record(action, resource, "failed" if answer.status_code >= 500 else "refused")
        raise refusal(answer)
    counts = {
        name: value for name, value in answer.json().items() if isinstance(value, int) or name == "receipt"
    }
    await asker.record(action, resource, "done", counts)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


async def written(
    asker: Asker,
    request: Request,
    key: str | None,
    permissions: tuple[Permission, ...],
    *,
    action: str,
    resource: str,
    run: Callable[[], Awaitable[dict[str, Any]]],
    details: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    """Do a write: permission, then once per idempotency key, then the audit, then the answer."""
    if not asker.rights.may(*permissions):
        await asker.record(action, resource, "refused", details)
        asker.require(*permissions)
    if key is None:
        return JSONResponse(await _recorded(asker, run, action, resource, details), status)
    # What the request is: the same key with anything else is a mistake of the client.
    what = hashlib.sha256(
        f"{request.method} {request.url.path}\n".encode() + await request.body()
    ).hexdigest()
    claim = idempotency.Claim(asker.desk.redis, asker.desk.settings, asker.principal.subject, key, what)
    before = await claim.take()
    if before is not None:
        return _repeated(before, what)
    try:
        answer = await _recorded(asker, run, action, resource, details)
    except Refused as error:
        if error.status >= 500 or error.status in (409, 429):
            await claim.drop()
        else:
            await claim.keep(error.status, error.problem().model_dump(mode="json", exclude_none=True))
        raise
    except BaseException:
        await claim.drop()
        raise
    await claim.keep(status, answer)
    return JSONResponse(answer, status)


def _repeated(before: dict[str, Any], what: str) -> Response:
    if before["what"] != what:
        raise Refused(422, "idempotency_reuse", "the key came with another request before")
    if before["status"] is None:
        raise Refused(409, "idempotency_in_flight", "the first request is still running")
    kind = "application/json" if before["status"] < 400 else "application/problem+json"
    return Response(
        json.dumps(before["answer"]), before["status"], {"idempotency-replayed": "true"}, media_type=kind
    )


async def _recorded(
    asker: Asker,
    run: Callable[[], Awaitable[dict[str, Any]]],
    action: str,
    resource: str,
    details: dict[str, Any] | None,
) -> dict[str, Any]:
    try:
        answer = await run()
    except Refused as error:
        outcome_ = "failed" if error.status >= 500 else "refused"
        await asker.record(action, resource, outcome_, {**(details or {}), "code": error.code})
        raise
    made = {"id": answer["id"]} if answer.get("id") is not None else {}
    await asker.record(action, resource, "done", {**(details or {}), **made})
    return answer
