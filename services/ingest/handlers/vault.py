"""The vault: tokens and the texts behind them, and the keys of subjects. In the database, sealed.

What was met lately is known without the database, up to KNOWN entries; for anything else it is asked, and without it
the request is refused. An entry is there before anything that rests on it is published.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from libs.common import clock
from libs.common.errors import Overloaded, Problem
from libs.common.stream.stored import Connection
from services.ingest import store
from services.ingest.core.minimise import SHORTEST, Minimiser
from services.ingest.core.records import Bad, Good
from services.ingest.core.vault import (
    ID_BYTES,
    KEY_BYTES,
    TOKEN,
    Entry,
    Found,
    Scope,
    Seal,
    id_of,
    named,
    opened,
)

KNOWN = 100_000
"""Entries that are kept in memory, the oldest forgotten first."""
SECONDS = 5.0
"""Within which the database has to answer."""


class Vault:
    """`secrets`: what is sealed with, by name."""

    def __init__(self, pool: asyncpg.Pool, secrets: Mapping[str, bytes]) -> None:
        self.pool = pool
        self.seals = {name: Seal(secret) for name, secret in secrets.items() if len(secret) >= SHORTEST}
        self.known: OrderedDict[bytes, Entry] = OrderedDict()
        """By digest."""
        self.shredded = 0
        """How often something was deleted: what was read before may be gone, and is not kept in memory."""

    async def found(self, minimiser: Minimiser, records: Sequence[Good | Bad]) -> Found:
        """What the minimiser wants for these records. Overloaded if the database has to be asked and is away."""
        found: dict[Scope, Mapping[str, Entry]] = {}
        for scope, texts in minimiser.texts(records).items():
            found[scope] = await self.entries(scope, texts)
        for scope, subjects in minimiser.subjects(records, found).items():
            found[scope] = await self.entries(scope, subjects)
        return found

    async def entries(self, scope: Scope, texts: Iterable[str]) -> dict[str, Entry]:
        """Of each text its entry; those that are not there are made."""
        seal = self.seals[scope.secret]
        digests = {text: seal.digest(scope, text) for text in texts}
        missing = {text: digest for text, digest in digests.items() if digest not in self.known}
        found = {text: self.known[digest] for text, digest in digests.items() if text not in missing}
        if not missing:
            return found
        shredded = self.shredded
        try:
            async with asyncio.timeout(SECONDS):
                stored = await self._stored(scope, seal, missing)
        except store.UNREACHED as error:
            raise _away() from error
        if shredded == self.shredded:
            self._remember({missing[text]: entry for text, entry in stored.items()})
        return found | stored

    async def _stored(self, scope: Scope, seal: Seal, missing: Mapping[str, bytes]) -> dict[str, Entry]:
        digests = list(missing.values())
        async with self.pool.acquire() as connection:
            rows = await store.vault_entries(connection, digests)
            while new := {digest: text for text, digest in missing.items() if digest not in rows}:
                now = clock.now()
                # In one order, or two requests could wait for each other.
                made = [
                    (scope.name, digest, *_made(scope, seal, new[digest]), scope.secret, now)
                    for digest in sorted(new)
                ]
                await store.add_vault_entries(connection, made)
                rows |= await store.vault_entries(connection, list(new))
        return {text: self._entry(scope, seal, *rows[digest]) for text, digest in missing.items()}

    def _entry(self, scope: Scope, seal: Seal, id: str, sealed: bytes) -> Entry:
        if scope.kind == "token":
            return Entry(id)
        return Entry(id, AESSIV(seal.unseal(scope.name, id, sealed)))

    def _remember(self, entries: Mapping[bytes, Entry]) -> None:
        self.known.update(entries)
        while len(self.known) > KNOWN:
            self.known.popitem(last=False)

    async def reveal(self, place: str, values: Sequence[str], secret: str | None) -> list[dict[str, Any]]:
        """Of each token or encrypted text what it stands for, or why that is not known.

        `place`: `source/field`. `secret`: the name of the one under which the field's tokens are, if it has any.
        """
        try:
            async with asyncio.timeout(SECONDS), self.pool.acquire() as connection:
                ids = {value: named(value) for value in values}
                rows = await store.vault_contents(connection, [id for id in ids.values() if id is not None])
        except store.UNREACHED as error:
            raise _away() from error
        return [
            {"value": value, **self._revealed(place, value, rows.get(id or ""), secret)}
            for value, id in ids.items()
        ]

    def _revealed(
        self, place: str, value: str, row: store.Content | None, secret: str | None
    ) -> dict[str, Any]:
        if row is None:
            why = (
                "it is erased, or was never one of ours"
                if named(value)
                else "it is no token or encrypted text"
            )
            return {"clear": None, "reason": why}
        if value.startswith(TOKEN) and row.secret != secret:
            return {"clear": None, "reason": "it is no token of this field"}
        seal = self.seals.get(row.secret)
        if seal is None:
            raise no_secret(row.secret)
        try:
            content = seal.unseal(row.scope, row.id, row.sealed)
            clear = content.decode() if value.startswith(TOKEN) else opened(content, place, value)
        except ValueError as error:
            return {"clear": None, "reason": str(error)}
        return {"clear": clear, "reason": None}

    async def shred(self, connection: Connection, source: str, field: str, value: str) -> tuple[int, int]:
        """Keys of a subject, and tokens that name it, that are deleted; in the caller's transaction.

        Problem if the secret under which a key may lie is not there.
        """
        digests = []
        for secret in await store.vault_secrets(connection, Scope("key", f"{source}/{field}", "").name):
            if secret not in self.seals:
                raise no_secret(secret)
            scope = Scope("key", f"{source}/{field}", secret)
            digests.append(self.seals[secret].digest(scope, value))
        keys = await store.delete_vault_entries(connection, digests)
        gone = await store.delete_token(connection, value) if value.startswith(TOKEN) else []
        self.shredded += 1
        for digest in (*digests, *gone):
            self.known.pop(digest, None)
        return keys, len(gone)


def _made(scope: Scope, seal: Seal, text: str) -> tuple[str, bytes]:
    """Id and sealed content of a new entry."""
    id = id_of(secrets.token_bytes(ID_BYTES))
    if scope.kind == "token":
        return TOKEN + id, seal.seal(scope.name, TOKEN + id, text.encode())
    return id, seal.seal(scope.name, id, secrets.token_bytes(KEY_BYTES))


def no_secret(name: str) -> Problem:
    return Problem(
        f"the secret {name} of pseudonyms, tokens or keys is not set, or has fewer than {SHORTEST} bytes",
        code="minimise_secret_missing",
        status=503,
        scope="system",
        retryable=True,
        retry_after=60,
    )


def _away() -> Overloaded:
    return Overloaded(
        "the database does not answer, which has the tokens and keys of this source",
        code="vault_away",
        scope="system",
        retryable=True,
        retry_after=2,
    )
