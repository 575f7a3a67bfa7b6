"""Everything that can go wrong, as one tree.

- SextantError
  - BadMessage        the record cannot be used: dead letter, with origin and reason
  - TryLater          not now: pause the partition, back off, keep polling
  - DefinitionError   a definition in the catalog is wrong: where, what, which rule
  - Problem           an HTTP answer with a status and a stable code (RFC 9457)
    - Malformed 400 · Unauthorised 401 · Forbidden 403 · NotFound 404 · TooSlow 408 · Conflict 409
      · TooLarge 413 · UnsupportedMedia 415 · Invalid 422 · QuotaExceeded 429 · Overloaded 503
Anything else is a fault of ours: the process logs it and ends, and is started again.
"""

from typing import Any


class SextantError(Exception):
    """The one class to catch."""


class BadMessage(SextantError):
    """A record that can never be used."""

    def __init__(
        self,
        reason: str,
        *,
        field: str | None = None,
        value: str | None = None,
        rule: str | None = None,
        code: str = "unfit",
    ) -> None:
        super().__init__(reason)
        self.reason, self.field, self.value, self.rule, self.code = reason, field, value, rule, code

    def told(self) -> dict[str, str | None]:
        """`reason`, `field`, `value` and `rule`, each of 500 characters at most: they may quote what the record holds."""
        said = {"reason": self.reason, "field": self.field, "value": self.value, "rule": self.rule}
        return {
            name: text if text is None or len(text) <= 500 else text[:499] + "…"
            for name, text in said.items()
        }


class TryLater(SextantError):
    """A record that cannot be used yet; the partition waits for it."""


class DefinitionError(SextantError):
    """A fault in a definition. `path` is dotted: `signals.0.threshold`."""

    def __init__(self, path: str, message: str, rule: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path, self.message, self.rule = path, message, rule


class Problem(SextantError):
    """An answer that is not a success, as problem+json."""

    status = 500
    code = "internal"
    title = "Something went wrong here"

    def __init__(
        self, detail: str = "", *, code: str | None = None, status: int | None = None, **more: Any
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.more = more

    def body(self) -> dict[str, Any]:
        """The members of the problem document; extensions beside the standard ones."""
        return {
            "type": f"urn:sextant:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.more,
        }


class Malformed(Problem):
    status, code, title = 400, "malformed", "The request cannot be read"


class Unauthorised(Problem):
    status, code, title = 401, "unauthorised", "Sign in first"


class Forbidden(Problem):
    status, code, title = 403, "forbidden", "You may not do that"


class NotFound(Problem):
    status, code, title = 404, "not_found", "There is no such thing"


class TooSlow(Problem):
    status, code, title = 408, "too_slow", "The request did not come in time"


class Conflict(Problem):
    status, code, title = 409, "conflict", "That does not fit the present state"


class TooLarge(Problem):
    status, code, title = 413, "too_large", "The request is too large"


class UnsupportedMedia(Problem):
    status, code, title = 415, "unsupported_media", "That content type is not understood"


class Invalid(Problem):
    status, code, title = 422, "invalid", "The request says something that is not allowed"


class QuotaExceeded(Problem):
    status, code, title = 429, "quota_exceeded", "You asked too often"


class Overloaded(Problem):
    status, code, title = 503, "overloaded", "Too much to do; try again soon"
