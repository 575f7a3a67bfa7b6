"""The body of a push: let in before it is read, decoded as it comes, no further than the limit."""

import asyncio

from fastapi import Request

from libs.common.errors import Malformed, TooSlow
from services.ingest.core.admission import Hold
from services.ingest.core.encodings import Decoder
from services.ingest.settings import Settings


async def read(request: Request, settings: Settings, hold: Hold) -> bytes:
    """The decoded body; the limit holds for the bytes that come and for those that come out."""
    coding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    sent = Decoder("identity", settings.max_body)
    decoder = sent if coding == "identity" else Decoder(coding, settings.max_body)
    declared = request.headers.get("content-length", "")
    sent.expect(int(declared) if declared.isdigit() else 0)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            hold.take(bytes=sent.expected)
            more = True
            while more:
                part, more = await _next(request)
                for raw in sent.feed(part):
                    for piece in [raw] if decoder is sent else decoder.feed(raw):
                        size += len(piece)
                        if size > hold.bytes:
                            hold.take(bytes=size - hold.bytes)
                        parts.append(piece)
    except TimeoutError as error:
        raise TooSlow(
            f"the body did not come within {settings.body_seconds:g} s", code="body_too_slow", retryable=True
        ) from error
    if sent.size:
        decoder.end()
    return b"".join(parts)


async def _next(request: Request) -> tuple[bytes, bool]:
    """A part of the body as it came, and whether more follow."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        why = "the connection was closed before the body was whole"
        raise Malformed(why, code="cut_off", rule="whole body")
    return message.get("body", b""), message.get("more_body", False)
