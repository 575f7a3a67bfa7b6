"""Runs a scenario to its end and says what of the committed output is not what batch gives."""

import asyncio
import logging
import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from libs.common import clock
from libs.common.batches import HEARTBEAT
from libs.common.catalog import Catalog, Source
from libs.common.errors import TryLater
from libs.common.events import CatalogEntry
from libs.common.kafka import ensure_topics
from libs.common.references import References
from libs.common.registry import Codecs
from libs.common.service import Readiness
from libs.common.stream import TransactionalLoop, Urgency
from libs.common.topics import EVENTS, INPUTS, PARTIALS, STATE, used_by
from libs.common.wire import Codec
from services.detector.handlers.combine import Combine, Progress
from services.detector.handlers.definitions import Definitions
from services.detector.handlers.erasures import Erasures
from services.detector.handlers.merge import Merge
from services.detector.handlers.publishing import Publisher
from services.detector.handlers.reading import Reading
from services.detector.handlers.rebuild import Rebuild
from services.detector.handlers.versions import Versions
from services.detector.handlers.withdrawals import Withdrawals
from services.detector.settings import Settings
from tests.sim.broker import Broker
from tests.sim.clients import COORDINATION, Producer, installed
from tests.sim.scenario import EPOCH_MS, FEEDING_SECONDS, SOURCE, Scenario, Strike
from tests.sim.verdict import CODECS, differences
from tests.sim.virtual import Host, VirtualLoop

ADDRESS = "sim"
LIMIT_SECONDS = 1_200.0
"""By then a scenario is over, whatever strikes in it."""
DRAIN_SECONDS = 20.0
FAR = EPOCH_MS + 10 * 86_400_000


class Failed(AssertionError):
    """The output is not what batch gives, or there is none."""


class World:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.dice = random.Random(scenario.seed)
        self.broker = Broker(self.dice, strike=self.strike)
        self.machines = [Machine(self, number) for number in range(scenario.processes)]
        self.losses = random.Random(scenario.seed + 1)
        self.beats = random.Random(scenario.seed + 2)
        self.later_until = 0.0
        self.over = asyncio.Event()
        """All is consumed: what still runs may end."""
        self.story: list[str] = []
        self.unexpected: list[str] = []

    def tell(self, text: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():9.3f}  {text}")

    def strike(self, victim: Host) -> None:
        for machine in self.machines:
            if machine.host is victim:
                machine.strike()

    def lose(self) -> None:
        """With a process that is killed goes, in some scenarios, the log of a state: all of it, or its newest records."""
        if not self.scenario.loses:
            return
        log = self.losses.choice(self.broker.topics[STATE.name])
        self.tell(f"the log of merge partition {log.tp.partition} is lost")
        if self.losses.random() < 0.5:
            self.broker.delete_before(log.tp, log.end)
        else:
            log.entries = [replace(each, value=b"\0" if each.value else each.value) for each in log.entries]

    async def run(self) -> None:
        """Raises Failed."""
        settings = settings_of("outside")
        await ensure_topics(settings, used_by("detector"))
        await ensure_topics(settings, [(EVENTS.of(SOURCE), EVENTS, 2)])
        living = [asyncio.create_task(machine.live()) for machine in self.machines]
        feeding = asyncio.create_task(self._feed(settings))
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await feeding
                while not self._is_consumed() and not self.unexpected:  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
        except TimeoutError:
            self.unexpected.append(f"it was not over after {LIMIT_SECONDS:.0f} s: {self._waiting()}")
        self.tell("all is consumed")
        self.over.set()
        for machine in self.machines:
            machine.stopping.set()
        await asyncio.gather(*living)
        found = self.unexpected or differences(self.broker, self.scenario)
        if found:
            raise Failed("\n".join(found))

    async def _feed(self, settings: Settings) -> None:
        """What ingest does: one transaction after the other. In the end nothing earlier will follow."""
        topic, loop = EVENTS.of(SOURCE), asyncio.get_running_loop()
        writer = Producer(
            bootstrap_servers=settings.kafka, transactional_id="ingest", transaction_timeout_ms=3_600_000
        )
        await writer.start()
        for arrival in self.scenario.arrivals:
            await asyncio.sleep(max(0.0, arrival.at - loop.time()))
            for attempt in range(1 + arrival.aborted):
                await writer.begin_transaction()
                for value in arrival.values:
                    await writer.send(topic, value, partition=arrival.partition)
                await asyncio.sleep(arrival.open)
                last = attempt == arrival.aborted
                await (writer.commit_transaction() if last else writer.abort_transaction())
            if self.beats.random() < 0.3:  # a sign of life changes nothing
                async with writer.transaction():
                    await writer.send(topic, b"", partition=self.beats.randrange(2), headers=[HEARTBEAT])
        await asyncio.sleep(max(0.0, self._last_change - loop.time()))
        async with writer.transaction():
            for number in range(2):
                await writer.send(topic, b"", partition=number, headers=[("sx-watermark", str(FAR).encode())])
        await writer.stop()

    @property
    def _last_change(self) -> float:
        return max(FEEDING_SECONDS, *(change.at for change in self.scenario.changes)) + 4.0

    # --- is it over? -------------------------------------------------------------------------------------

    def _waiting(self) -> list[str]:
        """Partitions of which not everything is consumed, and KPIs that are behind."""
        found: list[str] = []
        for group, topic in (("detector.combine", EVENTS.of(SOURCE)), ("detector.merge", PARTIALS.name)):
            for log in self.broker.topics[topic]:
                done = self.broker.committed.get((group, log.tp), 0)
                if log.stable < log.end or log.read(done, 1)[0]:
                    found.append(f"{topic}/{log.tp.partition}")
        wanted = {f"{id}@{version}" for id, version in in_force(self.scenario).items()}
        inputs, _ = self.broker.log(TopicPartition(INPUTS.name, 0)).read(0, 10**9)
        progress = {entry.key: Progress.decode(entry.value or b"") for _, entry in inputs}
        if len(progress) < 2 or any(each.behind or not each.live >= wanted for each in progress.values()):
            found.append(f"{ {key: each.behind for key, each in progress.items()} }")
        return found

    def _is_consumed(self) -> bool:
        return not self._waiting()


def in_force(scenario: Scenario) -> dict[str, int]:
    """KPI over the source → its last version."""
    return {
        change.id: change.version
        for change in scenario.changes
        if change.kind == "kpi" and "over" not in change.definition
    }


def settings_of(instance: str) -> Settings:
    return Settings(kafka=ADDRESS, database="", redis="", registry="", instance=instance)


class Machine:
    """A detector process that is started again whenever it ended."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.name = world, f"detector-{number}"
        self.strikes = iter(world.scenario.strikes[number])
        self.due: Strike | None = None
        self.host = Host(self.name)
        self.stopping = asyncio.Event()
        self.away = 0.0

    async def live(self) -> None:
        while not self.world.over.is_set():
            self.host, self.stopping, self.away = Host(self.name), asyncio.Event(), 0.5
            self.due = next(self.strikes, None)
            self.world.tell(f"{self.name} starts")
            process = self.host.start(self._process())
            try:
                await process
            except asyncio.CancelledError:
                if not self.host.dead:
                    raise
                while self.host.tasks:
                    self.host.kill()
                    await asyncio.wait(self.host.tasks)
            except KafkaError as error:
                self.world.tell(f"{self.name} ends: {error!r}")
            except Exception as error:
                self.world.unexpected.append(f"{self.name} ended with {error!r}")
                logging.getLogger(__name__).exception("unexpected")
            self.host.kill()
            await asyncio.wait({asyncio.create_task(self.world.over.wait())}, timeout=self.away)

    def strike(self) -> None:
        """Called at every request and answer: does what is due now."""
        due = self.due
        if due is None or self.host.calls < due.call or self.world.over.is_set():
            return
        task = asyncio.current_task()
        if due.kind == "error" and task is not None and task.get_name() == COORDINATION:
            return
        self.due = None
        self.world.tell(f"{self.name} call {due.call}: {due.kind} {due.seconds:.2f}")
        now = asyncio.get_running_loop().time()
        match due.kind:
            case "kill":
                self.away = due.seconds
                self.host.kill()
                self._unheard()
                self.world.lose()
            case "freeze":
                self.due = next(self.strikes, None)
                self.host.thaws_at = now + due.seconds
                self._unheard()
            case "stop":
                self.away = due.seconds
                self.stopping.set()
            case "pause":
                self.world.broker.resumes_at = now + due.seconds
            case "later":
                self.world.later_until = now + due.seconds
            case _:
                self.away = due.seconds
                raise KafkaError("the connection is lost")

    def _unheard(self) -> None:
        for group in self.world.broker.groups.values():
            group.silent(self.host)

    async def _process(self) -> None:
        """What `services.detector.__main__` builds, without HTTP and without signals."""
        settings, definitions = settings_of(self.name), Definitions(Catalog())
        publisher, erasures = Publisher(1), Erasures(settings)
        reading = Reading(
            definitions, LaterCodecs(self.world), References(settings), erasures, Withdrawals(settings)
        )
        combine = Combine(settings, definitions, reading, publisher)
        merge = Merge(settings, definitions, publisher, erasures, Rebuild(settings, reading, Observations()))
        urgency = Urgency()
        combining, merging = (
            TransactionalLoop(
                settings, name, processor, Readiness(), tick_seconds=1.0, pause_seconds=0.1, urgency=urgency
            )
            for name, processor in (
                ("detector.combine", combine), ("detector.merge", merge),
            )
        )  # fmt: skip
        combining.follow([EVENTS.of(SOURCE)])
        merging.follow([PARTIALS.name])
        versions = Versions(settings, definitions)
        await versions.load()
        following = asyncio.create_task(self._follow(definitions))
        loops = {asyncio.create_task(loop.run(self.stopping)) for loop in (combining, merging, versions)}
        await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        self.stopping.set()
        _, late = await asyncio.wait(loops, timeout=DRAIN_SECONDS)
        following.cancel()
        for task in late:
            task.cancel()
        ends = await asyncio.gather(*loops, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _follow(self, definitions: Definitions) -> None:
        """Hears of changes of the catalog a little after the others, or before."""
        for change in self.world.scenario.changes:
            wait = change.at - asyncio.get_running_loop().time()
            if wait > 0:
                await asyncio.sleep(wait + self.world.dice.random() * 2)
            entry = CatalogEntry.build(
                kind=change.kind, id=change.id, definition_version=change.version, definition=change.definition,
                applied_at=clock.now(), applied_by="sim",
            )  # fmt: skip
            definitions.catalog.put(entry)
            await definitions.on_change(entry)


class LaterCodecs(Codecs):
    """Decoding, which at times has to wait: as when the registry does not answer."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def events(self, source: Source, values):  # type: ignore[no-untyped-def]
        if asyncio.get_running_loop().time() < self.world.later_until:
            raise TryLater("the registry does not answer")
        return await super().events(source, values)


class Observations(Codecs):
    """Of `kpi.observations`, with no registry."""

    def __init__(self) -> None: ...

    async def of(self, values: Sequence[bytes | None]) -> Mapping[int, Codec]:
        return CODECS


@contextmanager
def _virtual_time(loop: VirtualLoop) -> Generator[None]:
    beginning = clock.moment(EPOCH_MS)
    with (
        patch.object(clock, "now", lambda: beginning + timedelta(seconds=loop.time())),
        patch.object(clock, "monotonic", loop.time),
    ):
        yield


def simulate(scenario: Scenario) -> list[str]:
    """The story of a run that gave what batch gives. Raises Failed, with the story in its notes."""
    return _simulated(scenario).story


def fault_of(scenario: Scenario) -> str | None:
    """What is wrong, or nothing."""
    try:
        simulate(scenario)
    except Failed as failed:
        return str(failed)
    return None


def calls_of(scenario: Scenario) -> int:
    """Requests and answers of the first process until all is consumed."""
    return _simulated(scenario).machines[0].host.calls


def _simulated(scenario: Scenario) -> World:
    random.seed(scenario.seed)  # the pauses between attempts
    world = World(scenario)
    with installed(ADDRESS, world.broker), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        with _virtual_time(loop):
            try:
                runner.run(world.run())
            except Failed as failed:
                failed.add_note("\n".join(world.story))
                raise
    return world
