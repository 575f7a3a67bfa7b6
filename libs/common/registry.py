"""A Confluent-compatible schema registry, over HTTP."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import polars as pl

from libs.common.batches import VALUE, Layout, Record, Records
from libs.common.catalog import Source
from libs.common.errors import BadMessage, Problem, TryLater
from libs.common.http import client
from libs.common.settings import ServiceSettings
from libs.common.wire import (
    NUL_IN_JSON,
    Codec,
    decode,
    decode_json,
    defaulted,
    has_unfit,
    ndjson,
    placed,
    schema_ids,
    split,
    without_prefix,
    without_unfit,
)

_CONTENT = {"Content-Type": "application/vnd.schemaregistry.v1+json"}


class Codecs:
    """Schemas of the registry, parsed, as batches ask for them. `reader`: the schema that records are read as."""

    def __init__(self, registry: "Registry", reader: dict[str, Any] | None = None) -> None:
        self.registry, self.reader = registry, reader
        self.codecs: dict[int, Codec] = {}
        self.layouts: dict[int, Layout] = {}

    async def of(self, values: Sequence[bytes | None]) -> Mapping[int, Codec]:
        """The codecs that a batch needs; an id that the registry does not know, or that is none of Avro, is left out."""
        for id in schema_ids(values) - self.codecs.keys():
            try:
                self.codecs[id] = _codec(await self.registry.schema(id), self.reader)
            except NotAvro:
                continue
            except Problem as problem:
                if problem.status != 404:
                    raise TryLater(f"the registry answered {problem.status} for schema {id}") from problem
            except httpx.TransportError as error:
                raise TryLater(f"the registry does not answer: {error!r}") from error
        return self.codecs

    async def events(
        self, source: Source, values: Sequence[bytes | None]
    ) -> tuple[pl.DataFrame, list[tuple[int, BadMessage]]]:
        """The events of a batch in the source's format (`wire.decode`, `wire.decode_json`) that can be kept."""
        if source.format == "json":
            return without_unfit(*decode_json(values, source.field_types))
        codecs = await self.of(values)
        unfit = {
            id: error
            for id in schema_ids(values) & codecs.keys()
            if (error := codecs[id].unfit(source.field_types)) is not None
        }
        frame, bad = decode(values, {id: codec for id, codec in codecs.items() if id not in unfit})
        if unfit:
            bad = [(index, _why(values[index], unfit) or error) for index, error in bad]
        return without_unfit(defaulted(frame, source.field_types, source.defaults), bad)

    async def columns(self, source: Source, records: Sequence[Record]) -> pl.DataFrame | None:
        """The events of records as a batch of the log gives them, with `OFFSET` and `TIMESTAMP`, `INDEX` and `SCHEMA_ID`.

        None if they are not all good and alike: then `events` says what is what.
        """
        if not isinstance(records, Records) or not records:
            return None
        if source.format == "json":
            frame = _TEXTS.frame(records)
            events = None if frame is None else ndjson(frame[VALUE].to_list(), source.field_types)
            nul = any(NUL_IN_JSON in batch.raw for batch in records.batches)
            if frame is None or events is None or has_unfit(events, nul=nul):
                return None
            return placed(frame.drop(VALUE).hstack(events), 0)
        try:
            id, _ = split(records[0].value)
            codec = (await self.of([records[0].value]))[id]
            if codec.unfit(source.field_types) is not None:
                return None
            if id not in self.layouts:
                self.layouts[id] = Layout(codec.schema)
            frame = self.layouts[id].frame(records)
            if frame is None or has_unfit(frame):
                return None
            frame = defaulted(without_prefix(frame, id), source.field_types, source.defaults)
            return placed(frame, id)
        except (BadMessage, KeyError, ValueError):
            return None


_TEXTS = Layout(None)


def _why(value: bytes | None, unfit: Mapping[int, BadMessage]) -> BadMessage | None:
    """What is wrong with the schema of a value; None if that is not it."""
    try:
        return unfit.get(split(value)[0])
    except BadMessage:
        return None


def _codec(schema: dict[str, Any], reader: dict[str, Any] | None) -> Codec:
    try:
        return Codec(schema, reader)
    except (
        Exception
    ) as error:  # it refers to others, or whatever was stumbled over: the registry may hold anything
        raise NotAvro(repr(error)) from error


class NotAvro(Exception):
    """A schema of another kind, or one that is no record."""


class Incompatible(Exception):
    """The registry refuses a schema; the message carries its reasons."""


class Registry:
    """Subjects are given without the prefix."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.prefix = settings.prefix
        self.http = client(settings.registry)
        self.schemas: dict[int, dict[str, Any]] = {}

    async def close(self) -> None:
        await self.http.aclose()

    async def register(self, subject: str, schema: dict[str, Any]) -> int:
        """The id of the schema under the subject; the same schema has the same id. Raises Incompatible."""
        path = f"/subjects/{self.prefix}{subject}/versions"
        body = {"schema": json.dumps(schema), "schemaType": "AVRO"}
        try:
            answer = await self.http.post(path, json=body, headers=_CONTENT)
        except Problem as problem:
            if problem.status == 409:
                raise Incompatible(problem.more.get("message") or problem.detail) from problem
            raise
        return int(answer.json()["id"])

    async def schema(self, id: int) -> dict[str, Any]:
        """The record schema with that id, or NotAvro; a schema never changes, so it is asked for once."""
        if id not in self.schemas:
            kind, text = await self.text(id)
            try:
                schema = json.loads(text) if kind == "AVRO" else None
            except (ValueError, RecursionError) as error:
                raise NotAvro(f"schema {id} is no JSON: {error}") from error
            if not isinstance(schema, dict) or schema.get("type") != "record":
                raise NotAvro(f"schema {id} is no Avro record but {kind}")
            self.schemas[id] = schema
        return self.schemas[id]

    async def text(self, id: int) -> tuple[str, str]:
        """The kind of a schema (AVRO, PROTOBUF, JSON) and what it says, as it was registered."""
        answer = (await self.http.get(f"/schemas/ids/{id}")).json()
        return str(answer.get("schemaType") or "AVRO"), str(answer["schema"])

    async def places(self, id: int) -> list[tuple[str, int]]:
        """(subject, version) under which the schema is known, of our prefix; empty if there is no such id."""
        try:
            answer = await self.http.get(f"/schemas/ids/{id}/versions")
        except Problem as problem:
            if problem.status == 404:
                return []
            raise
        found = [(str(each["subject"]), int(each["version"])) for each in answer.json()]
        return [
            (subject.removeprefix(self.prefix), version)
            for subject, version in found
            if subject.startswith(self.prefix)
        ]

    async def incompatibilities(self, subject: str, schema: dict[str, Any], mode: str) -> list[str]:
        """Why the registry would refuse the schema as the subject's next version; [] if it would take it.

        `mode`: the subject's. Apicurio judges against the versions that the path names, whatever the mode says.
        """
        versions = "versions" if mode.endswith("_TRANSITIVE") else "versions/latest"
        path = f"/compatibility/subjects/{self.prefix}{subject}/{versions}"
        body = {"schema": json.dumps(schema), "schemaType": "AVRO"}
        try:
            answer = (
                await self.http.post(path, params={"verbose": "true"}, json=body, headers=_CONTENT)
            ).json()
        except Problem as problem:
            if problem.status == 404:
                return []
            raise
        if answer.get("is_compatible", True):
            return []
        return answer.get("messages") or ["the registry gave no reason"]

    async def compatibility(self, subject: str) -> str | None:
        """The mode that the subject has of its own; None if it has none, or is not known."""
        try:
            answer = await self.http.get(f"/config/{self.prefix}{subject}")
        except Problem as problem:
            if problem.status == 404:
                return None
            raise
        return str(answer.json()["compatibilityLevel"])

    async def set_compatibility(self, subject: str, mode: str) -> None:
        await self.http.put(f"/config/{self.prefix}{subject}", json={"compatibility": mode}, headers=_CONTENT)

    async def adopt(self, subject: str, schema: dict[str, Any], mode: str) -> int:
        """Register a schema under a mode, which holds from then on for whoever registers one; its id. A mode that is
        another than before is set first: the schema is judged by it. Raises Incompatible; the mode is then as before.
        """
        before = await self.compatibility(subject)
        if before not in (None, mode):
            await self.set_compatibility(subject, mode)
        try:
            id = await self.register(subject, schema)
        except Incompatible:
            if before not in (None, mode):
                await self.set_compatibility(subject, str(before))
            raise
        if before is None:  # without a schema it had none
            await self.set_compatibility(subject, mode)
        return id
