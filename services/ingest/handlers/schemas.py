"""Schemas of the registry that senders speak of, made ready once each."""

from collections.abc import Callable, Iterable, Mapping

import httpx

from libs.common.errors import BadMessage, Problem
from libs.common.registry import Registry
from services.ingest.core import avro, protobuf

Reader = avro.Reader | protobuf.Reader
Found = Reader | BadMessage | None
"""What reads messages of a schema, or why nothing does; None if they are JSON, which is read as any other."""


MOST_NEW = 100
"""Schemas that the registry is asked for, one after the other, before one request is answered."""


class Schemas:
    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.readers: dict[int, Found] = {}

    async def of(self, ids: Iterable[int]) -> Mapping[int, Found]:
        """By id. A Problem while the registry does not answer; BadMessage if it would have to be asked of too many."""
        unknown: dict[int, BadMessage] = {}
        new = set(ids) - self.readers.keys()
        if len(new) > MOST_NEW:
            raise BadMessage(
                f"{len(new)} schemas that were not met before are named at once",
                field="schema id",
                value=str(len(new)),
                rule=f"at most {MOST_NEW}",
                code="too_many_schemas",
            )
        for id in new:
            try:
                kind, text = await self.registry.text(id)
            except (Problem, httpx.TransportError) as error:
                if not isinstance(error, Problem) or error.status != 404:
                    raise _away(str(error)) from error
                unknown[id] = _refused(id, "is not known")
                continue
            try:
                self.readers[id] = _KINDS[kind](text) if kind in _KINDS else _refused(id, f"is {kind}")
            except BadMessage as error:
                self.readers[id] = error
        return {**self.readers, **unknown}


_KINDS: Mapping[str, Callable[[str], Reader | None]] = {
    "AVRO": avro.Reader,
    "PROTOBUF": protobuf.Reader,
    "JSON": lambda _: None,
}


def _refused(id: int, why: str) -> BadMessage:
    return BadMessage(
        f"the schema {id} {why}", field="schema id", value=str(id), rule="registered", code="unknown_schema"
    )


def _away(why: str) -> Problem:
    return Problem(
        f"the registry does not answer: {why}",
        code="registry_away",
        status=503,
        scope="system",
        retryable=True,
        retry_after=5,
    )
