"""ETag and If-None-Match: what did not change is not sent again."""

import hashlib

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel


def conditional(request: Request, answer: BaseModel) -> Response:
    """The answer with its ETag, or 304. Moments of reading and cursors are no part of what is compared."""
    body = answer.model_dump_json().encode()
    compared = answer.model_dump_json(exclude=_VOLATILE).encode()
    tag = f'W/"{hashlib.sha256(compared).hexdigest()[:24]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization"}
    known = {item.strip() for item in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


_VOLATILE = {"as_of": True, "stream": True, "items": {"__all__": {"stream"}}}
