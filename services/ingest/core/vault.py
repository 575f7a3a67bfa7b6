"""The vault's cryptography: how texts are found again, sealed and opened. Pure.

The vault holds two kinds of entries, each under a random id: texts (the id is the token that stands for one) and keys
of subjects. An entry is found by a keyed digest of its text or subject, and its content is sealed, so that whoever has
the database alone learns nothing but how many there are. Everything is AES-SIV (RFC 5297): it needs no nonce that
could come twice, and what is sealed is bound to its place. The keys are made of the definition's secret by HKDF
(RFC 5869), one for each use.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TOKEN, ENCRYPTED = "tok_", "enc_"
"""What a token and an encrypted text begin with."""
KEY_BYTES = 64
"""Of AES-256-SIV."""
ID_BYTES = 16
_ID_LENGTH = 22
"""Characters of an id."""
_NAMED = re.compile(rf"(?P<token>{TOKEN}[A-Za-z0-9_-]{{22}})\Z|{ENCRYPTED}(?P<key>[A-Za-z0-9_-]{{22}})\.")


class Scope(NamedTuple):
    """Entries that belong together: texts under one secret, or the keys of the subjects that a source's field names."""

    kind: Literal["token", "key"]
    of: str
    """The secret's name, or `source/field`."""
    secret: str
    """Its name."""

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.of}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A token, or a subject's key under its id."""

    id: str
    key: AESSIV | None = None

    def encrypted(self, place: str, text: str) -> str:
        """`place`: `source/field`. Opened by `opened`."""
        assert self.key is not None
        sealed = self.key.encrypt(text.encode(), [place.encode()])
        return f"{ENCRYPTED}{self.id}.{urlsafe_b64encode(sealed).decode().rstrip('=')}"


Found = Mapping[Scope, Mapping[str, Entry]]
"""Scope → text or subject → its entry."""


class Seal:
    """What one secret seals and finds entries with."""

    def __init__(self, secret: bytes) -> None:
        self.digests = _derived(secret, b"digests", 32)
        self.sealing = AESSIV(_derived(secret, b"contents", KEY_BYTES))

    def digest(self, scope: Scope, text: str) -> bytes:
        """What the entry of a text, or of a subject, is found by."""
        return hmac.digest(self.digests, f"{scope.name}\0{text}".encode(), hashlib.sha256)

    def seal(self, scope: str, id: str, content: bytes) -> bytes:
        return self.sealing.encrypt(content, [scope.encode(), id.encode()])

    def unseal(self, scope: str, id: str, sealed: bytes) -> bytes:
        """ValueError if it was sealed otherwise, or altered."""
        try:
            return self.sealing.decrypt(sealed, [scope.encode(), id.encode()])
        except InvalidTag:
            raise ValueError("it was sealed under another secret, or altered") from None


def id_of(random: bytes) -> str:
    """An id of ID_BYTES random bytes."""
    return urlsafe_b64encode(random).decode().rstrip("=")


def named(value: str) -> str | None:
    """The id of the entry that a token, or an encrypted text, rests on; None if it is neither."""
    found = _NAMED.match(value)
    return None if found is None else found["token"] or found["key"]


def opened(key: bytes, place: str, value: str) -> str:
    """An encrypted text in clear; ValueError if it is none of this key and place."""
    coded = value[len(ENCRYPTED) + _ID_LENGTH + 1 :]
    try:
        sealed = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        return AESSIV(key).decrypt(sealed, [place.encode()]).decode()
    except (InvalidTag, ValueError):
        raise ValueError("it is no text of this field, or was altered") from None


def _derived(secret: bytes, use: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, None, b"sextant vault " + use).derive(secret)
