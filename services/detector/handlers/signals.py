"""The third loop: final observations → signals and expected bands, with the models in a changelog."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common import clock
from libs.common.events import ErasedSeries, Observation, parse_series_key
from libs.common.kafka import Record, high_watermarks, read_all
from libs.common.registry import Codecs
from libs.common.settings import ServiceSettings
from libs.common.stream import Output
from libs.common.topics import EXPECTATIONS, MODELS, SIGNALS
from libs.common.wire import record as avro_record
from services.detector.core.forgetting import Forgetting
from services.detector.core.signals import RuleOnKpi, SeriesState, observe, told, withdrawn
from services.detector.handlers.bus import BACKFILL
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasures import MODELS_STORE, STATE_STORE, Erasures, answer

log = logging.getLogger(__name__)

Models = dict[str, SeriesState]
"""`kpi@version/rule|series` → state."""


class Signals:
    """The processor of `detector.signals`."""

    def __init__(
        self, settings: ServiceSettings, definitions: Definitions, codecs: Codecs, erasures: Erasures
    ) -> None:
        self.settings, self.definitions, self.codecs = settings, definitions, codecs
        self.erasures = erasures
        self.client: AIOKafkaConsumer | None = None
        self.until: dict[tuple[str, int], int] = {}
        """(erasure, partition) → end of the values that were made before the subject was gone from merge."""
        self.models: dict[int, Models] = {}
        self.swept: dict[int, int] = {}
        self.forgetting: dict[int, Forgetting] = {}

    async def assigned(self, client: AIOKafkaConsumer, tp: TopicPartition) -> tuple[()]:
        """Restore the partition's models from their changelog."""
        self.client = client
        models: Models = {}
        async for records in read_all(self.settings, MODELS.name, partitions=[tp.partition]):
            for record in records:
                key = (record.key or b"").decode()
                if record.value is None:
                    models.pop(key, None)
                else:
                    models[key] = SeriesState(**json.loads(record.value))
        self.models[tp.partition], self.forgetting[tp.partition] = models, Forgetting.of(models)
        log.info("models restored", extra={"fields": {"partition": tp.partition, "series": len(models)}})
        return ()

    async def releasing(self, tp: TopicPartition) -> list[Output]:
        return []

    async def revoked(self, tp: TopicPartition) -> None:
        self.models.pop(tp.partition, None)
        self.swept.pop(tp.partition, None)
        self.forgetting.pop(tp.partition, None)

    async def urgent(self, tp: TopicPartition, records: Sequence[Record]) -> bool:
        return False

    async def process(self, tp: TopicPartition, records: Sequence[Record]) -> list[Output]:
        models = self.models[tp.partition]
        changed: set[str] = set()
        outputs: list[Output] = []
        codecs = await self.codecs.of([record.value for record in records])
        for record in records:
            rules = self.definitions.signals.get((record.key or b"").decode().partition("|")[0])
            if not rules or any(
                name == BACKFILL for name, _ in record.headers
            ):  # history, that alarms nobody
                continue
            seen = Observation.model_validate(avro_record(record.value, codecs))
            if seen.status != "final":
                continue
            for rule in rules:
                if rule.version == seen.kpi_version and not self._is_over(rule):
                    name = f"{rule.name}|{seen.series_key}"
                    outputs += self._observe(rule, models.setdefault(name, SeriesState()), seen)
                    changed.add(name)
                    self.forgetting[tp.partition].see(rule.name, models[name].last or 0)
        for name in sorted(changed):
            outputs.append(
                Output(
                    MODELS.name,
                    name.encode(),
                    json.dumps(asdict(models[name])).encode(),
                    partition=tp.partition,
                )
            )
        if changed:
            rules = {rule.name: rule for each in self.definitions.signals.values() for rule in each}
            for name in self.forgetting[tp.partition].due(rules, models):
                outputs += self._forget(tp.partition, models, name)
        return [*outputs, *self._sweep(tp.partition, models), *await self._erase(tp, models, records)]

    async def _erase(self, tp: TopicPartition, models: Models, records: Sequence[Record]) -> list[Output]:
        """Tombstones for an erased subject's models, when its last values were seen; and the end of its signals."""
        outputs: list[Output] = []
        store = f"{MODELS_STORE}/{tp.partition}"
        for subject in list(self.erasures.subjects.values()):
            waiting = self.erasures.open_stores(subject.id, (STATE_STORE, MODELS_STORE))
            if store not in waiting or any(each.startswith(STATE_STORE) for each in waiting):
                continue
            place = subject.id, tp.partition
            if place not in self.until:
                self.until[place] = (await high_watermarks(self.settings, tp.topic))[tp.partition]
            assert self.client is not None
            position = records[-1].offset + 1 if records else await self.client.position(tp)
            if position < self.until[place]:
                continue
            gone = named(models, subject.series)
            for name in gone:
                outputs += self._forget(tp.partition, models, name)
            outputs.append(answer(subject, store, len(gone), len(gone)))
        self.until = {place: end for place, end in self.until.items() if place[0] in self.erasures.subjects}
        return outputs

    def _served(self, rule: RuleOnKpi) -> int:
        """The version whose signals are told; the rule's own where nothing is known, as of KPIs on Flink."""
        if rule.kpi.engine != "embedded":
            return rule.version
        return self.definitions.served.get(rule.kpi.id, rule.version)

    def _is_over(self, rule: RuleOnKpi) -> bool:
        """Whether a newer version has taken over: until it is retired it is computed, and no longer judged."""
        return rule.version < self._served(rule)

    def _observe(self, rule: RuleOnKpi, state: SeriesState, seen: Observation) -> Iterator[Output]:
        expectation, change = observe(rule, state, seen, clock.now())
        if change is not None:
            change = told(state, change, served=rule.version <= self._served(rule))
        if expectation is not None:
            key = f"{seen.kpi}|{seen.series_key}".encode()
            yield Output(EXPECTATIONS.name, key, expectation.encode())
        if change is not None:
            fields = {"signal": change.id, "kpi": change.kpi, "series": change.series_key}
            log.info(f"signal {change.change}", extra={"fields": {**fields, "verdict": change.verdict}})
            yield Output(SIGNALS.name, change.id.encode(), change.encode())

    def _sweep(self, number: int, models: Models) -> Iterator[Output]:
        """Tombstones for the models of KPI versions that are gone, and the end of their signals."""
        if self.swept.get(number) == self.definitions.version:
            return
        self.swept[number] = self.definitions.version
        gone = [name for name in models if self.definitions.is_gone(name.partition("/")[0])]
        for name in gone:
            yield from self._forget(number, models, name)

    def _forget(self, number: int, models: Models, name: str) -> Iterator[Output]:
        """A tombstone for one model, and the end of its signal."""
        if (change := withdrawn(models.pop(name), clock.now())) is not None:
            yield Output(SIGNALS.name, change.id.encode(), change.encode())
        yield Output(MODELS.name, name.encode(), None, partition=number)


def named(models: Models, series: Sequence[ErasedSeries]) -> list[str]:
    """The models (`kpi@version/rule|series_key`) of an erased subject."""
    given: dict[str, list[ErasedSeries]] = {}
    for each in series:
        given.setdefault(each.kpi, []).append(each)
    return [
        name
        for name in models
        if any(
            parse_series_key(name.partition("|")[2]).get(each.dimension) == each.value
            for each in given.get(name.partition("@")[0], ())
        )
    ]
