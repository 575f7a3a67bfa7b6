"""Opaque tokens. A page token is encrypted: it holds clear keys of rows that its bearer may not see in clear.
A cursor holds nothing secret and is signed."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SIGNATURE_BYTES = 9
_NONCE_BYTES = 12


class BadToken(ValueError):
    """The token was not made here, or not for these parameters."""


@dataclass(frozen=True)
class Cursor:
    """Where a subscription stands: the position in its channel's window, and the last number it was given."""

    channel: str
    epoch: str
    position: str
    seq: int


class Seal:
    """Makes and opens tokens with keys derived from one secret."""

    def __init__(self, secret: bytes, nonce: Callable[[int], bytes] = os.urandom) -> None:
        self._pages = AESGCM(hmac.new(secret, b"page tokens", hashlib.sha256).digest())
        self._cursors = hmac.new(secret, b"cursors", hashlib.sha256).digest()
        self._nonce = nonce

    def page(self, after: list[Any], parameters: dict[str, Any]) -> str:
        """A token for the page after the row with key `after`, valid with the same `parameters` only."""
        nonce = self._nonce(_NONCE_BYTES)
        body = self._pages.encrypt(nonce, json.dumps(after, default=str).encode(), _canonical(parameters))
        return _text(nonce + body)

    def open_page(self, token: str, parameters: dict[str, Any]) -> list[Any]:
        """The key of the last row of the page before; raises BadToken."""
        raw = _raw(token)
        try:
            body = self._pages.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _canonical(parameters))
        except (InvalidTag, ValueError) as error:
            raise BadToken("the page token does not belong to these parameters") from error
        opened: list[Any] = json.loads(body)
        return opened

    def cursor(self, cursor: Cursor) -> str:
        body = f"{cursor.seq} {cursor.position} {cursor.epoch} {cursor.channel}".encode()
        return _text(self._sign(body) + body)

    def open_cursor(self, text: str) -> Cursor:
        """The cursor that `text` is; raises BadToken."""
        raw = _raw(text)
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise BadToken("this is no cursor of this server")
        seq, position, epoch, channel = body.decode().split(" ", 3)
        return Cursor(channel, epoch, position, int(seq))

    def _sign(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._cursors, digest_size=_SIGNATURE_BYTES).digest()


def _canonical(parameters: dict[str, Any]) -> bytes:
    return json.dumps(parameters, sort_keys=True, default=str).encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, UnicodeEncodeError) as error:
        raise BadToken("malformed token") from error
