"""Judging events: verdicts per rule and hour, counted in the transaction that moves the offset."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import polars as pl
from aiokafka import TopicPartition

from libs.common import clock
from libs.common.catalog import Catalog, Source
from libs.common.compiled import Compiled
from libs.common.errors import TryLater
from libs.common.events import CatalogEntry
from libs.common.kafka import Record
from libs.common.references import References
from libs.common.registry import Codecs
from libs.common.rules import CompiledRule, references_of, rules_by_source, verdicts
from libs.common.settings import ServiceSettings
from libs.common.stream.stored import Bad, Connection
from libs.common.topics import EVENTS
from libs.common.wire import INDEX
from services.quality import store
from services.quality.core.health import WEIGHTS
from services.quality.core.incidents import Counts
from services.quality.handlers.arrivals import note
from services.quality.handlers.incidents import observe
from services.quality.handlers.sampling import Sampler

HOUR = "__hour"


class Judge:
    """The keeper of `events.<source>`."""

    def __init__(
        self,
        settings: ServiceSettings,
        pool: asyncpg.Pool,
        catalog: Catalog,
        codecs: Codecs,
        references: References,
    ) -> None:
        self.settings, self.pool, self.catalog = settings, pool, catalog
        self.codecs, self.references = codecs, references
        self.rules: dict[str, list[CompiledRule]] = {}
        """By source."""
        self.compiled = Compiled()
        self.lock = asyncio.Lock()
        self.sampler = Sampler()

    async def redefine(self, entry: CatalogEntry) -> None:
        """Compile what an entry changes; a rule that does not compile is left out."""
        if entry.kind not in ("source", "rule"):
            return
        self.compiled.anew()
        self.rules = rules_by_source(self.catalog, self.compiled)
        if entry.kind == "source":
            return
        versions = [(rule.id, self.catalog.version("rule", rule.id)) for rule in self.catalog.rules]
        async with self.lock, self.pool.acquire() as connection, connection.transaction():
            await store.set_rules(connection, versions)

    async def keep(self, connection: Connection, tp: TopicPartition, records: Sequence[Record]) -> Bad:
        topic = tp.topic.removeprefix(self.settings.prefix)
        source = self.catalog.source(topic.removeprefix(EVENTS.of("")))
        if source is None:
            raise TryLater(f"the catalog does not say yet what {topic} is")
        data = [record for record in records if record.value]
        values = [record.value for record in data]
        frame, bad = await self.codecs.events(source, values)
        await note(connection, source, tp, records, frame)
        assert source.event_time is not None
        if source.event_time not in frame.columns:
            return [(data[index], error) for index, error in bad]
        time = pl.col(source.event_time)
        frame = frame.filter(time.is_not_null()).with_columns(time.dt.truncate("1h").alias(HOUR))
        if frame.height:
            await self.sampler.look(connection, source, frame)
            arrived = max(record.timestamp for record in data)
            await self._judge(connection, source, frame.drop(INDEX), clock.moment(arrived))
        return [(data[index], error) for index, error in bad]

    async def _judge(
        self, connection: Connection, source: Source, frame: pl.DataFrame, arrived: datetime
    ) -> None:
        rules = self.rules.get(source.id, [])
        keys = {}
        if references_of(rules):
            wanted = {
                id: each for id in references_of(rules) if (each := self.catalog.source(id)) is not None
            }
            await self.references.follow(wanted)
            keys = await self.references.caught_up()
        missing = [field.name for field in source.fields if field.name not in frame.columns]
        frame = frame.with_columns(pl.lit(None).alias(name) for name in missing).with_columns(
            verdicts(rules, keys)
        )
        results = []
        for compiled in rules:
            counted = (
                frame.filter(compiled.applies)
                .group_by(HOUR)
                .agg(
                    compiled.violated(keys).is_not_null().sum().alias("assessed"),
                    compiled.violated(keys).fill_null(False).sum().alias("violations"),
                )
            )
            version = self.catalog.version("rule", compiled.rule.id)
            results += [(compiled.rule.id, version, source.id, *row) for row in sorted(counted.rows())]
        await store.add_rule_results(connection, results)
        await self._count(connection, source, frame, arrived)
        await self._incidents(connection, source, rules, frame)

    async def _count(
        self, connection: Connection, source: Source, frame: pl.DataFrame, arrived: datetime
    ) -> None:
        """Events, assessed and good weight per hour; the source was heard."""
        weight = pl.col("worst").replace_strict(dict(enumerate(WEIGHTS)), return_dtype=pl.Float64)
        hours = frame.group_by(HOUR).agg(
            pl.len(), pl.col("assessed").sum(), weight.filter(pl.col("assessed")).sum().alias("good")
        )
        await store.add_hours(connection, [(source.id, *row) for row in sorted(hours.rows())])
        newest = frame[source.event_time or ""].max()
        assert isinstance(newest, datetime)
        await store.note_arrival(connection, source.id, newest, arrived)

    async def _incidents(
        self, connection: Connection, source: Source, rules: Sequence[CompiledRule], frame: pl.DataFrame
    ) -> None:
        """Open or update the incident of each rule that is broken too often."""
        until = frame[HOUR].max()
        assert isinstance(until, datetime)
        for compiled in rules:
            rule = compiled.rule
            version = self.catalog.version("rule", rule.id)
            assessed, violations = await store.counts_over(
                connection, rule.id, version, until, rule.incident.over
            )
            if Counts(assessed, violations).opens(rule.incident.open_above, rule.incident.min_events):
                share = violations / assessed
                await observe(
                    connection,
                    source=source.id,
                    rule=rule.id,
                    kind="rule",
                    severity=rule.severity,
                    owner=rule.owner,
                    summary=f"{rule.title}: {violations} of {assessed} events break it ({share:.1%})",
                    seen_at=until,
                    now=clock.now(),
                    assessed=assessed,
                    violations=violations,
                )
