"""References that sources with `retry` refer to, followed: which of their rows have come."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from libs.common.catalog import Catalog, Rule, Source
from libs.common.errors import DefinitionError
from libs.common.expressions import predicate
from libs.common.kafka import consumer, ensure_topics
from libs.common.topics import REFERENCE
from libs.common.wire import DTYPES
from services.ingest.core.known import Keys
from services.ingest.core.parked import Missing
from services.ingest.core.records import Good, Validator
from services.ingest.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.005


class Followed:
    """One reference, from the beginning of its compacted topic on. `arrived` of each listener is told every row."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.settings, self.id = settings, source.id
        self.keys = Keys(settings.reference_keys, versioned=source.versioned)
        self.loaded = asyncio.Event()
        self.ended = asyncio.Event()
        self.client: AIOKafkaConsumer | None = None
        self.asker: AIOKafkaConsumer | None = None
        """Asks how far the topic goes: on the other's connection it would wait behind a fetch, a tenth of a second."""
        self.listeners: list[Callable[[str, str], None]] = []

    async def run(self, stopping: asyncio.Event) -> None:
        name = REFERENCE.of(self.id)
        await ensure_topics(self.settings, [(name, REFERENCE, 1)])
        places = [TopicPartition(self.settings.prefix + name, 0)]
        client, asker = consumer(self.settings), consumer(self.settings)
        try:
            await client.start()
            await asker.start()
            client.assign(places)
            await client.seek_to_beginning(*places)
            self.client, self.asker = client, asker
            ends = await client.end_offsets(places)
            while not stopping.is_set():
                for records in (await client.getmany(*places, timeout_ms=200)).values():
                    self._take(records)
                if not self.loaded.is_set() and await self._reached(ends):
                    self.loaded.set()
                    fields = {"reference": self.id, "keys": len(self.keys)}
                    log.info("keys of a reference read", extra={"fields": fields})
        finally:
            self.client = self.asker = None  # nothing more will come, for whoever waits still
            self.loaded.set()
            self.ended.set()
            await asker.stop()
            await client.stop()

    def _take(self, records: list[Any]) -> None:
        was_over = self.keys.over
        for record in records:
            if record.key:
                key = self.keys.take(record.key, gone=record.value is None)
                if record.value is not None:
                    for listener in self.listeners:
                        listener(self.id, key)
        if self.keys.over and not was_over:
            fields = {"reference": self.id, "most": self.keys.most}
            log.warning("a reference has too many keys: nothing waits for it", extra={"fields": fields})

    async def _reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        for tp, end in ends.items():
            if self.client is not None and await self.client.position(tp) < end:
                return False
        return True

    async def caught_up(self) -> None:
        """Returns when every row that was acknowledged before is known (or this ends), however long brokers are away."""
        await self.loaded.wait()
        ends = None
        while ends is None:
            if self.client is None or self.asker is None:
                return
            try:
                ends = await self.asker.end_offsets(list(self.client.assignment()))
            except KafkaTimeoutError as error:
                fields = {"reference": self.id, "reason": str(error)}
                log.warning("waiting", extra={"fields": fields})
        while not await self._reached(ends):
            # The marker of a transaction moves the position, and is no record that would be told of.
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), LOOK_SECONDS)


class Check:
    """A referential rule of a source, for single records."""

    def __init__(self, rule: Rule, validator: Validator, reference: Followed) -> None:
        """DefinitionError if it does not fit the source."""
        assert rule.check.reference is not None
        self.field, self.reference = rule.check.reference.field, reference
        types = validator.source.field_types
        if types.get(self.field) != "string":
            raise DefinitionError("check.reference.field", f"{self.field} is no text of the source", "type")
        self.place = validator.names.index(self.field)
        self.schema = {name: DTYPES[kind] for name, kind in types.items()}
        self.applies = None if rule.where is None else predicate(rule.where, types).polars().fill_null(False)

    def lacks(self, record: Good) -> bool:
        """Whether the record refers to a row that has not come. What refers to nothing (null) waits for nothing."""
        value = record.values[self.place]
        return value is not None and value not in self.reference.keys and self._applies(record)

    def missing(self, record: Good) -> Missing | None:
        if not self.lacks(record):
            return None
        return Missing(self.field, record.values[self.place], self.reference.id)

    def _applies(self, record: Good) -> bool:
        if self.applies is None:
            return True
        row = pl.DataFrame([record.values], schema=self.schema, orient="row")
        return row.select(self.applies).item()


class Known:
    """The references that are asked for; each is followed from then on."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.settings, self.catalog = settings, catalog
        self.followed: dict[str, Followed] = {}
        self.group: asyncio.TaskGroup | None = None
        self.stopping = asyncio.Event()

    def begin(self, group: asyncio.TaskGroup, stopping: asyncio.Event) -> None:
        """Where the loops run; one that fails ends the process."""
        self.group, self.stopping = group, stopping

    def rules(self, source: Source) -> tuple[Rule, ...]:
        """Those that hold up events of a source, if it has `retry`: by references that are in force."""
        if source.retry is None:
            return ()
        found = self.catalog.references_of(source.id)
        return tuple(rule for rule in found if self._reference(rule) is not None)

    def checks(self, rules: tuple[Rule, ...], validator: Validator) -> list[Check]:
        """Of those that fit: while a source and its rules are changed together one comes before the other."""
        checks: list[Check] = []
        for rule in rules:
            try:
                checks.append(Check(rule, validator, self._follow(self._reference(rule))))
            except DefinitionError as error:
                log.warning("a rule is left out", extra={"fields": {"rule": rule.id, "reason": str(error)}})
        return checks

    def _reference(self, rule: Rule) -> Source | None:
        return None if rule.check.reference is None else self.catalog.source(rule.check.reference.in_)

    def _follow(self, reference: Source | None) -> Followed:
        assert reference is not None
        found = self.followed.get(reference.id)
        if found is None:
            assert self.group is not None
            found = self.followed[reference.id] = Followed(self.settings, reference)
            self.group.create_task(found.run(self.stopping), name=f"reference {reference.id}")
        return found
