"""The body of a push: read as it comes, decoded, no further than the limit."""

from fastapi import Request
from starlette.requests import ClientDisconnect

from libs.common.errors import Malformed
from services.ingest.core.encodings import Decoder


async def read(request: Request, limit: int) -> bytes:
    """The decoded body; the limit holds for the bytes that come and for those that come out."""
    coding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    sent, decoder = Decoder("identity", limit), Decoder(coding, limit)
    parts: list[bytes] = []
    try:
        async for part in request.stream():
            for raw in sent.feed(part):
                parts.extend(decoder.feed(raw))
    except ClientDisconnect as error:
        raise Malformed("the connection was closed before the body was whole", rule="whole body") from error
    if sent.size:
        decoder.end()
    return b"".join(parts)
