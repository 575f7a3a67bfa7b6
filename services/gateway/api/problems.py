"""Every way in which the gateway says no: RFC 9457 with a stable `code`."""

from typing import Any

from services.gateway.api.models.common import Problem


class Refused(Exception):
    """Answered as a problem. `code` is what clients branch on; `extra` are further members of the problem."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = headers or {}
        self.extra = extra

    def problem(self) -> Problem:
        return Problem(
            title=TITLES.get(self.code, self.code.replace("_", " ").capitalize()),
            status=self.status,
            detail=self.detail,
            code=self.code,
            **self.extra,
        )


TITLES = {
    "unauthenticated": "Sign in first",
    "bad_credentials": "Wrong name or password",
    "too_many_attempts": "Too many attempts",
    "forbidden": "Not allowed",
    "not_found": "No such thing, or not for you",
    "bad_request": "The request is malformed",
    "invalid": "The request does not say what is needed",
    "bad_page_token": "The page token belongs to another question",
    "idempotency_in_flight": "The first request with this key is still running",
    "idempotency_reuse": "This key was used for another request",
    "too_large": "Too much in one request",
    "unavailable": "A part behind the gateway does not answer",
    "audit_unavailable": "The audit cannot be written, so nothing is answered",
    "views_missing": "A service has not published its views yet",
    "starting": "Not ready yet; try again in a moment",
    "method_not_allowed": "There is no such verb here",
    "internal": "Something went wrong here",
}
"""The stable codes of the gateway itself; those of the services behind it are passed on."""


def not_found(what: str) -> Refused:
    """Also for what exists and is not visible: the two must not be told apart."""
    return Refused(404, "not_found", f"{what}: there is none, or it is not for you")


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "model": Problem,
        "description": description,
    }
    for status, description in (
        (401, "`unauthenticated`"),
        (403, "`forbidden`"),
        (404, "`not_found`: also what is not visible to the asker"),
        (422, "`invalid`, `bad_page_token`, `idempotency_reuse`"),
        (503, "`unavailable`, `audit_unavailable`, `views_missing`"),
    )
}
