"""Minimisation: what is left of a field's value before anything is written. A union by `kind`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from libs.common.catalog.definition import Definition
from libs.common.catalog.pulls import SecretName


class Drop(Definition):
    """Nothing: the field is null."""

    kind: Literal["drop"] = "drop"


class Pseudonym(Definition):
    """A keyed hash (HMAC-SHA256, hex) in the place of a text: the same text has the same one wherever the same secret
    is named, so that it can be joined, counted and grouped by."""

    kind: Literal["pseudonym"] = "pseudonym"
    secret: SecretName
    """Of at least 16 bytes. Whoever has it can find out by trying whose pseudonym one is."""
    length: int = Field(default=32, ge=16, le=64)
    """Hex digits of 64 that are kept."""


class Truncate(Definition):
    """The beginning of a text, or a time cut down."""

    kind: Literal["truncate"] = "truncate"
    to: Annotated[int, Field(ge=1, le=10_000)] | Literal["minute", "hour", "day"]
    """So many characters of a text; of a timestamp the minute, hour or day (UTC) in which it lies."""


class Network(Definition):
    """How many leading bits of an address are kept."""

    v4: int = Field(default=24, ge=0, le=32)
    v6: int = Field(default=48, ge=0, le=128)


class Generalise(Definition):
    """A class to which the value belongs: exactly one of these."""

    kind: Literal["generalise"] = "generalise"
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Numbers, down to a multiple of it."""
    to: Literal["month", "year"] | None = None
    """Dates and timestamps, down to the first of it (UTC)."""
    prefix: int | None = Field(default=None, ge=1, le=1_000)
    """Text: so many characters, and `*` for what is cut off."""
    network: Network | None = None
    """Text that is an IP address: its network. What is none is malformed."""

    @model_validator(mode="after")
    def _one(self) -> "Generalise":
        if sum(value is not None for value in (self.step, self.to, self.prefix, self.network)) != 1:
            raise ValueError("give exactly one of step, to, prefix and network")
        return self


class Tokenise(Definition):
    """A random token in the place of a text; the text itself lies encrypted in the vault of ingest, and whoever has the
    permission steward can ask for it. The same text has the same token wherever the same secret is named."""

    kind: Literal["tokenise"] = "tokenise"
    secret: SecretName
    """Of at least 16 bytes: what the vault finds texts by and encrypts them with. Without it they are lost."""


class Encrypt(Definition):
    """The text encrypted (AES-SIV, RFC 5297) under a key that only its subject has. With the key, which goes when the
    subject is erased, everything that was encrypted under it is gone, wherever it lies (crypto-shredding). The same
    text of a subject is encrypted to the same."""

    kind: Literal["encrypt"] = "encrypt"
    secret: SecretName
    """Of at least 16 bytes: what the subjects' keys are encrypted with. Without it everything is lost."""
    subject: str
    """The field of the same event that names whom the text is about."""


Minimise = Annotated[
    Drop | Pseudonym | Truncate | Generalise | Tokenise | Encrypt, Field(discriminator="kind")
]
