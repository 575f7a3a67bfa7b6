"""Plan and apply: the one writer of the catalog."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import asyncpg
from pydantic import ValidationError

from libs.common import clock
from libs.common.catalog import DEFINITION, AnyDefinition, Catalog, Source
from libs.common.catalog.check import Problem, changes, check
from libs.common.catalog.compatibility import Earlier
from libs.common.catalog.cost import costs
from libs.common.errors import Invalid
from libs.common.events import CatalogEntry
from libs.common.outbox import put
from libs.common.registry import Incompatible, Registry
from libs.common.stream.stored import Connection
from libs.common.topics import CATALOG, EVENTS, REFERENCE
from services.strategy import store
from services.strategy.core.contracts import contract


class CatalogKeeper:
    """Judges workspaces against what is in force, and puts them in force."""

    def __init__(self, pool: asyncpg.Pool, registry: Registry) -> None:
        self.pool, self.registry = pool, registry

    async def plan(self, raw: Sequence[dict[str, Any]], *, remove_missing: bool) -> dict[str, Any]:
        """What applying would change, and every problem; nothing is written."""
        async with self.pool.acquire() as connection:
            _, answer = await self._judge(connection, await _in_force(connection), raw, remove_missing)
            return answer

    async def apply(self, raw: Sequence[dict[str, Any]], *, remove_missing: bool, by: str) -> dict[str, Any]:
        """Put the definitions in force, all or none. Invalid (422) with the problems if there is any."""
        async with self.pool.acquire() as connection, connection.transaction():
            await store.lock_catalog(connection)
            before = await _in_force(connection)
            definitions, answer = await self._judge(connection, before, raw, remove_missing)
            if answer["problems"]:
                count = len(answer["problems"])
                raise Invalid(f"{count} problems; nothing was applied", code="inconsistent_catalog", **answer)
            wanted = {(each.kind, each.id): each for each in definitions}
            for change in answer["changes"]:
                if change["action"] != "unchanged":
                    definition = wanted.get((change["kind"], change["id"]))
                    await self._put(connection, before, change, definition, by)
            return answer

    async def _put(
        self,
        connection: Connection,
        before: Catalog,
        change: dict[str, Any],
        definition: AnyDefinition | None,
        by: str,
    ) -> None:
        kind, id, now = change["kind"], change["id"], clock.now()
        version = before.version(kind, id) + 1
        schema_id = None
        if isinstance(definition, Source):
            schema_id = await self._adopt(definition)
        content = None if definition is None else definition.model_dump(mode="json", by_alias=True)
        await store.add_version(connection, kind, id, version, content, schema_id, now, by)
        entry = CatalogEntry.build(
            kind=kind,
            id=id,
            definition_version=version,
            definition=content,
            schema_id=schema_id,
            applied_at=now,
            applied_by=by,
        )
        await put(connection, "strategy", CATALOG.name, entry.key, entry)
        change["version"] = version

    async def _adopt(self, source: Source) -> int:
        """Its schema in the registry under its mode. Invalid if the registry knows better than the plan: whoever
        produces to the topic may have registered schemas of their own meanwhile."""
        try:
            return await self.registry.adopt(subject_of(source), source.avro_schema(), source.compatibility)
        except Incompatible as error:
            problem = Problem("source", source.id, "fields", str(error), _rule(source))
            message = f"the registry refuses the schema of {source.id}; nothing was applied"
            raise Invalid(message, code="inconsistent_catalog", problems=[asdict(problem)]) from error

    async def _judge(
        self, connection: Connection, before: Catalog, raw: Sequence[dict[str, Any]], remove_missing: bool
    ) -> tuple[list[AnyDefinition], dict[str, Any]]:
        definitions, problems = parse(raw)
        kept = {(each.kind, each.id) for each in definitions}
        standing = (
            [] if remove_missing else [each for key, each in before.definitions.items() if key not in kept]
        )
        history = await _history(connection, definitions)
        problems += check([*definitions, *standing], before, history)
        found = changes(before, definitions, remove_missing=remove_missing)
        problems += await self._incompatible(before, definitions, problems)
        versions = {
            (each.kind, each.id): before.version(each.kind, each.id) + (each.action != "unchanged")
            for each in found
        }
        wanted = Catalog.of([*definitions, *standing])
        contracts = [
            contract(each, known, history.get(each.id, ()), wanted)
            for each in definitions
            if isinstance(each, Source) and (known := before.source(each.id)) is not None
        ]
        return definitions, {
            "changes": [{**asdict(each), "version": versions[each.kind, each.id]} for each in found],
            "problems": [asdict(each) for each in problems],
            "costs": [] if problems else [each.summary() for each in costs(found, wanted)],
            "contracts": [each for each in contracts if each is not None],
        }

    async def _incompatible(
        self, before: Catalog, definitions: Sequence[AnyDefinition], known: Sequence[Problem]
    ) -> list[Problem]:
        """The registry's verdict on new schemas, where our own check found nothing: it knows what others have
        registered. It judges by the mode in force; where that is to change, we alone have judged."""
        faulty = {each.id for each in known if each.kind == "source"}
        problems = []
        for definition in definitions:
            if not isinstance(definition, Source) or definition.id in faulty:
                continue
            old, schema = before.source(definition.id), definition.avro_schema()
            subject = subject_of(definition)
            if definition.compatibility == "NONE" or (old is not None and old.avro_schema() == schema):
                continue
            mode = definition.compatibility
            if await self.registry.compatibility(subject) == mode:
                problems += [
                    Problem("source", definition.id, "fields", reason, _rule(definition))
                    for reason in await self.registry.incompatibilities(subject, schema, mode)
                ]
        return problems


def subject_of(source: Source) -> str:
    """The registry's subject of a source's schema, without the prefix."""
    return f"{(REFERENCE if source.reference else EVENTS).of(source.id)}-value"


def _rule(source: Source) -> str:
    return f"compatibility {source.compatibility}"


def parse(raw: Sequence[dict[str, Any]]) -> tuple[list[AnyDefinition], list[Problem]]:
    """The definitions, and a problem for each that is none."""
    definitions: list[AnyDefinition] = []
    problems: list[Problem] = []
    for each in raw:
        try:
            definitions.append(DEFINITION.validate_python(each))
        except ValidationError as error:
            for fault in error.errors():
                path = ".".join(str(part) for part in fault["loc"][1:])
                kind, id = str(each.get("kind", "?")), str(each.get("id", "?"))
                problems.append(Problem(kind, id, path, fault["msg"], fault["type"]))
    return definitions, problems


async def _in_force(connection: Connection) -> Catalog:
    catalog = Catalog()
    for row in await store.catalog_in_force(connection):
        catalog.put(
            CatalogEntry(
                kind=row["kind"],
                id=row["id"],
                definition_version=row["version"],
                definition=row["definition"],
                schema_id=row["schema_id"],
                applied_at=row["applied_at"],
                applied_by=row["applied_by"],
            )
        )
    return catalog


async def _history(connection: Connection, definitions: Sequence[AnyDefinition]) -> dict[str, Earlier]:
    """Every version of the sources among the definitions, by id, the oldest first."""
    history: dict[str, list[tuple[int, Source]]] = {}
    ids = [each.id for each in definitions if isinstance(each, Source)]
    for row in await store.source_versions(connection, ids):
        history.setdefault(row["id"], []).append((row["version"], Source.model_validate(row["definition"])))
    return dict(history)
