"""Content codings of a request (RFC 9110, section 8.4): gzip and zstd, decoded as they come, no further than a limit."""

import zlib
from collections.abc import Iterator
from typing import Protocol

from backports import zstd

from libs.common.errors import Malformed, TooLarge, UnsupportedMedia

ACCEPTED = ("gzip", "zstd", "identity")


class Stream(Protocol):
    """What both libraries give for one member or frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_PIECE = 256 * 1024
"""Bytes that are decoded at once: so much is held beyond the limit at most."""
MOST_MEMBERS = 2_000
"""Of a body, members or frames: each begins anew, and an empty one has 9 bytes."""
ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
"""8 MiB, what RFC 9659 lets a sender use: a frame that asks for more would have us hold it."""


class Decoder:
    """The coding of one body. What is fed comes out decoded, piece by piece."""

    def __init__(self, coding: str, limit: int) -> None:
        self.coding = "gzip" if coding == "x-gzip" else coding
        self.limit, self.size, self.expected, self.members = limit, 0, 0, 0
        if self.coding not in ACCEPTED:
            raise UnsupportedMedia(
                f"the content encoding {coding[:100]} is not understood; send {', '.join(ACCEPTED)}",
                code="unsupported_encoding",
                field="content-encoding",
                value=coding[:100],
                accepted=list(ACCEPTED),
            )
        self.stream = self._fresh()

    def expect(self, size: int) -> None:
        """So much is said to come; TooLarge at once if that is more than the limit."""
        self.expected = size
        if size > self.limit:
            self._refuse()

    def feed(self, part: bytes) -> Iterator[bytes]:
        """TooLarge as soon as more than the limit has come out; Malformed if it is not of its coding."""
        for piece in [part] if self.stream is None else self._pieces(part):
            self.size += len(piece)
            if self.size > self.limit:
                self._refuse()
            if piece:
                yield piece

    def end(self) -> None:
        """Malformed if the body ends before its coding does."""
        if self.stream is not None and not self.stream.eof:
            raise self._broken("it ends too early")

    def _pieces(self, part: bytes) -> Iterator[bytes]:
        """A body may be several members (RFC 1952) or frames (RFC 8878), one after the other."""
        while part:
            if self.stream is None or self.stream.eof:
                self.stream = self._fresh()
            assert self.stream is not None
            more = True
            while more:
                try:
                    piece = self.stream.decompress(part, _PIECE)
                except (zlib.error, zstd.ZstdError) as error:
                    raise self._broken(str(error)) from error
                yield piece
                part = getattr(self.stream, "unconsumed_tail", b"")  # zstd keeps it to itself
                more = not self.stream.eof and (bool(part) or len(piece) == _PIECE)
            part = self.stream.unused_data

    def _fresh(self) -> Stream | None:
        if self.coding == "identity":
            return None
        self.members += 1
        if self.members > MOST_MEMBERS:
            raise self._broken(f"it has more than {MOST_MEMBERS} members, or frames")
        return zstd.ZstdDecompressor(options=ZSTD_WINDOW) if self.coding == "zstd" else zlib.decompressobj(31)

    def _broken(self, why: str) -> Malformed:
        return Malformed(
            f"the body is not {self.coding}: {why}",
            code="malformed_encoding",
            field="content-encoding",
            value=self.coding,
            rule=self.coding,
        )

    def _refuse(self) -> None:
        if self.stream is None:
            raise TooLarge(f"the body has more than {self.limit} bytes", limit=self.limit, unit="bytes")
        raise TooLarge(
            f"the body has more than {self.limit} bytes when it is decoded",
            code="too_large_decoded",
            limit=self.limit,
            unit="bytes",
        )
