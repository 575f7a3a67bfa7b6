"""`make verify-demo`: replays the year, compares every final value with plain SQL, and balances the books.

Four scenarios, each on fresh topics and a fresh database of an isolated stack: clean; with late, duplicate and
malformed events; the same while each of the seven services is killed with -9 three times at random moments; the same
with every KPI on a real Flink cluster instead of the detector.
Prints one JSON line last; exit code 1 unless everything is equal.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg import sql
from rich.console import Console

from demo import compare, people, truth
from demo.faults import Faults
from demo.replay import Sender, Sent, bearer, day, replay
from libs.cli.server import Server
from libs.common import clock
from libs.common.catalog import Kpi
from libs.common.catalog.workspace import Workspace, load
from libs.common.topics import PARTIALS
from local import flink, ports, postgres, servers, services

ROOT = Path(__file__).parents[1]
console = Console(highlight=False, soft_wrap=True)

FAULTS = Faults(late=0.01, duplicate=0.005, malformed=0.002)
SETTLE_SECONDS = 300.0
"""Without anything new: then what has not come is missing."""


@dataclass
class Outcome:
    """What one scenario found."""

    name: str
    comparison: compare.Comparison
    ledger: dict[str, dict[str, int]]
    violations: dict[str, tuple[int, int]]
    sent: dict[str, Sent]
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def imbalance(self) -> int:
        """Events by which any source's books are out, in flight and parked included: all has settled."""
        return sum(abs(row["imbalance"]) + row["in_flight"] + row["parked"] for row in self.ledger.values())

    @property
    def landed_wrong(self) -> int:
        """Events landed, more or fewer than were sent."""
        return sum(abs(self.ledger[source]["landed"] - each.events) for source, each in self.sent.items())


@dataclass
class Stack:
    """A whole mesh on its own topics and database."""

    home: Path
    env: dict[str, str]

    @property
    def gateway(self) -> str:
        return self.env["SEXTANT_GATEWAY_URL"]

    @property
    def database(self) -> str:
        return self.env["SEXTANT_DATABASE"]

    def apply(self, workspace: Workspace) -> None:
        passwords = people.ensure(self.home)
        with Server(self.gateway, "none") as anonymous:
            token = anonymous.sign_in("operator", passwords["operator"])
        with Server(self.gateway, token) as gateway:
            definitions = [each.model_dump(mode="json", by_alias=True) for each in workspace.definitions]
            answer = gateway.post("/v1/catalog/apply", {"definitions": definitions, "remove_missing": False})
        if answer.get("problems"):
            raise SystemExit(f"the workspace is refused: {answer['problems'][:3]}")


@contextmanager
def cluster(home: Path, engine: str) -> Generator[dict[str, str]]:
    """The addresses of a Flink cluster, where the engine is one; gone afterwards."""
    if engine != "flink":
        yield {}
        return
    numbers = ports.free()
    try:
        yield flink.up(home, {name: numbers[name] for name in flink.PORTS})
    finally:
        flink.down(home)


@contextmanager
def running(addresses: dict[str, str], name: str) -> Generator[Stack]:
    """The seven services on the given servers, with a prefix and a database of their own; gone afterwards."""
    base = addresses["SEXTANT_DATABASE"].rpartition("/")[0]
    database = f"{name}_{os.getpid()}_{random.randrange(10**6)}"
    with tempfile.TemporaryDirectory(prefix="sextant-") as folder:
        home = Path(folder)
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        with psycopg.connect(f"{base}/{database}", autocommit=True) as inside:
            postgres.add_timescaledb(inside)
        own = {**addresses, "SEXTANT_DATABASE": f"{base}/{database}", "SEXTANT_PREFIX": f"{database}."}
        (home / "env").write_text("".join(f"{key}={value}\n" for key, value in own.items()))
        people.ensure(home)
        try:
            env = services.up(home, ports.free(), own)
            yield Stack(home, {**own, **env})
        finally:
            services.down(home)
            with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


async def run(
    stack: Stack,
    name: str,
    faults: Faults,
    *,
    start: datetime | None,
    end: datetime | None,
    kills: int,
    engine: str,
    seed: int,
) -> Outcome:
    """One scenario: replay, settle, compare."""
    workspace = on_engine(load(ROOT / "catalog"), engine)
    stack.apply(workspace)
    began = clock.monotonic()
    os.environ["SEXTANT_LOCAL"] = str(stack.home)
    share = [0.0]
    sender = Sender(stack.gateway, bearer(stack.gateway))
    killing = asyncio.create_task(kill_at_random(stack, kills, share, seed)) if kills else None
    sent = await replay(
        sender,
        start=start,
        end=end,
        faults=faults,
        console=console,
        progress_of=lambda now: share.__setitem__(0, now),
    )
    killed = await killing if killing else {}
    versions: dict[str, int] = {}
    kpis = [each for each in workspace.definitions if isinstance(each, Kpi)]
    comparison = await settle(stack, kpis, sent, versions, start, end)
    with psycopg.connect(stack.database) as connection:
        ledger, violations = compare.books(connection), compare.violations(connection)
    return Outcome(name, comparison, ledger, violations, sent, killed, clock.monotonic() - began)


def on_engine(workspace: Workspace, engine: str) -> Workspace:
    """The same definitions, computed there."""
    definitions = [
        each.model_copy(update={"engine": engine}) if isinstance(each, Kpi) else each
        for each in workspace.definitions
    ]
    return replace(workspace, definitions=definitions)


async def kill_at_random(stack: Stack, times: int, share: list[float], seed: int) -> dict[str, int]:
    """Kill -9 every service so many times, at seeded moments of the replay."""
    dice = random.Random(seed)
    moments = sorted((dice.uniform(0.03, 0.97), name) for name in services.SERVICES for _ in range(times))
    killed: dict[str, int] = {name: 0 for name in services.SERVICES}
    for moment, name in moments:
        while share[0] < moment:  # noqa: ASYNC110 (the share is a number, not an event)
            await asyncio.sleep(0.05)
        for _ in range(600):  # the supervisor may just be starting it again
            try:
                await asyncio.to_thread(services.kill, stack.home, name)
                break
            except Exception as error:
                if "not running" not in str(error):
                    raise
                await asyncio.sleep(0.1)
        killed[name] += 1
        console.print(f"  killed {name} at {moment:.0%}")
    return killed


async def settle(
    stack: Stack,
    kpis: list[Kpi],
    sent: dict[str, Sent],
    versions: dict[str, int],
    start: datetime | None,
    end: datetime | None,
) -> compare.Comparison:
    """Wait until all has landed, been judged and no value changes any more; then compare."""
    deadline, before, steady = clock.monotonic() + SETTLE_SECONDS, (-1, -1, -1), 0
    landed = sum(each.events for each in sent.values())
    on_flink = any(each.engine == "flink" for each in kpis)
    expected = sum(map(len, truth.expected(kpis, start, end).values())) if on_flink else 0
    while clock.monotonic() < deadline and steady < 4:
        await asyncio.sleep(1.0)
        now = await asyncio.to_thread(progress, stack)
        closed = now[1] >= expected if on_flink else await asyncio.to_thread(all_closed, stack, len(kpis))
        steady = steady + 1 if closed and now == before and now[0] >= landed else 0
        if now != before:
            deadline = clock.monotonic() + SETTLE_SECONDS
        before = now
    if steady < 4:
        console.print(f"  nothing new for {SETTLE_SECONDS:.0f} s, and not settled: compared as it is")
    with psycopg.connect(stack.database) as connection:
        found = compare.published(connection, versions)
    return compare.compare(kpis, found, start, end)


def all_closed(stack: Stack, kpis: int) -> bool:
    """Whether the declared watermark has closed every window of every KPI in every partition of the detector."""
    try:
        state = httpx.get(
            f"{stack.env['SEXTANT_DETECTOR_URL']}/v1/state", timeout=10, trust_env=False
        ).json()["kpis"]
    except (httpx.HTTPError, KeyError, json.JSONDecodeError):
        return False
    places = [each for each in state if each["watermark"] is not None and each["open_windows"] == 0]
    return len(places) >= kpis * PARTIALS.partitions


def progress(stack: Stack) -> tuple[int, int, int]:
    """Events landed, revisions stored, and events judged."""
    with psycopg.connect(stack.database) as connection:
        row = connection.execute(
            "SELECT (SELECT coalesce(sum(landed), 0) FROM read.ledger_totals WHERE source IN"
            " ('departures', 'arrivals', 'weather'))::bigint, (SELECT count(*) FROM read.observations),"
            " (SELECT coalesce(sum(assessed), 0) FROM read.rule_results)::bigint"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def report(outcome: Outcome) -> None:
    found = outcome.comparison
    console.print(
        f"{outcome.name}: {found.windows} windows of {found.kpis} KPIs, {found.missing} missing, {found.extra} extra,"
        f" {found.wrong} wrong; books out by {outcome.imbalance}; {outcome.seconds:.0f} s"
    )
    for text in found.differences:
        console.print(f"  {text}")
    for source, row in outcome.ledger.items():
        if source in outcome.sent:
            each = outcome.sent[source]
            console.print(
                f"  {source}: accepted {row['accepted']} = landed {row['landed']} + dead-lettered {row['dead_lettered']}"
                f" + duplicate {row['duplicate']} + in flight {row['in_flight']} + parked {row['parked']}"
                f" (sent {each.events} events, {each.late} of them late, {each.duplicate} twice,"
                f" {each.malformed} malformed copies; {each.repeated_requests} requests repeated)"
            )
    for rule, (assessed, broken) in sorted(outcome.violations.items()):
        console.print(f"  rule {rule}: {broken} of {assessed} events break it")


def line(outcomes: list[Outcome]) -> dict[str, Any]:
    """The sums over all scenarios."""
    return {
        "kpis": max(each.comparison.kpis for each in outcomes),
        "windows": sum(each.comparison.windows for each in outcomes),
        "missing": sum(each.comparison.missing for each in outcomes),
        "extra": sum(each.comparison.extra for each in outcomes),
        "wrong": sum(each.comparison.wrong for each in outcomes),
        "ledger_imbalance": sum(each.imbalance + each.landed_wrong for each in outcomes),
        "aircraft_unknown": [each.violations.get("aircraft_known", (0, 0))[1] for each in outcomes],
        "destinations_unknown": [each.violations.get("destination_known", (0, 0))[1] for each in outcomes],
        "kills": sum(sum(each.kills.values()) for each in outcomes),
        "scenarios": [each.name for each in outcomes],
    }


SCENARIOS: dict[str, tuple[Faults, int, str]] = {
    "clean": (Faults(), 0, "embedded"),
    "faulty": (FAULTS, 0, "embedded"),
    "killed": (FAULTS, 3, "embedded"),
    "flink": (FAULTS, 0, "flink"),
}
"""Faults, kills of each service, and the engine."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make verify-demo", description=__doc__)
    parser.add_argument("--scenario", choices=[*SCENARIOS, "all"], default="all")
    parser.add_argument(
        "--from", dest="start", type=day, help="first day, such as 2013-02-01; the whole year if not given"
    )
    parser.add_argument("--to", dest="end", type=day, help="first day that is not sent")
    parser.add_argument("--seed", type=int, default=11, help="of the moments at which services are killed")
    given = parser.parse_args()
    names = list(SCENARIOS) if given.scenario == "all" else [given.scenario]
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="sextant-verify-") as folder:
        home = Path(folder)
        addresses = servers.up(home, ports.free())
        try:
            for name in names:
                faults, kills, engine = SCENARIOS[name]
                console.rule(name)
                with cluster(home, engine) as more, running({**addresses, **more}, name) as stack:
                    outcome = asyncio.run(
                        run(
                            stack,
                            name,
                            faults,
                            start=given.start,
                            end=given.end,
                            kills=kills,
                            engine=engine,
                            seed=given.seed,
                        )
                    )
                    report(outcome)
                    outcomes.append(outcome)
        finally:
            servers.down(home)
    result = line(outcomes)
    print(json.dumps(result))
    equal = all(each.comparison.equal and not each.imbalance and not each.landed_wrong for each in outcomes)
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
