"""What every benchmark's command line has: runs, peers, a choice of figures, and servers of its own."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from bench.contenders import Contender, Missing, Program
from bench.contenders.jvm import JVM_PEERS
from bench.contenders.pypi import PYTHON_PEERS
from bench.contest import Bench
from bench.report import Figure, console, publish
from local import ports, servers
from local.progress import Failed

PEERS: dict[str, Contender] = {peer.name: peer for peer in (*JVM_PEERS, *PYTHON_PEERS)}
USUAL = "flink,kstreams"

P = TypeVar("P", bound=Program)
Part = Callable[[Bench, Sequence[P]], Awaitable[list[Figure]]]
"""Measures some figures, the peers beside."""


@dataclass(frozen=True)
class Given(Generic[P]):
    """What was asked for."""

    runs: int
    overload: int
    peers: list[P]
    parts: dict[str, Part[P]]


def main(name: str, about: str | None, parts: Mapping[str, Part[Contender]]) -> None:
    """A benchmark of the engine."""
    compare(name, about, parts, PEERS, USUAL)


def compare(
    name: str, about: str | None, parts: Mapping[str, Part[P]], peers: Mapping[str, P], usual: str
) -> None:
    """Run a benchmark; exit code 1 if it cannot run. What it measures never decides."""
    given = _parse(name, about, parts, peers, usual)
    try:
        ready = _prepared(given.peers)
        with tempfile.TemporaryDirectory(prefix="sextant-bench-") as folder:
            home = Path(folder)
            addresses = servers.up(home, ports.free())
            try:
                bench = Bench(addresses, home, given.runs, given.overload)
                figures = asyncio.run(_measure(bench, ready, given.parts))
            finally:
                servers.down(home)
    except Failed as failed:
        raise SystemExit(f"bench-{name}: {failed}") from failed
    publish(name, figures)


def _parse(
    name: str, about: str | None, parts: Mapping[str, Part[P]], peers: Mapping[str, P], usual: str
) -> Given[P]:
    parser = argparse.ArgumentParser(prog=f"make bench-{name}", description=about)
    parser.add_argument("--runs", type=int, default=3, help="of each contender; medians are shown (runs=N)")
    parser.add_argument("--overload", type=int, default=60, help="seconds, where it overloads (overload=N)")
    known = ", ".join(peers)
    parser.add_argument("--peers", default=usual, help=f"of {known}; 'none' for none (peers=…)")
    parser.add_argument("--only", default=",".join(parts), help=f"of {', '.join(parts)} (only=…)")
    given = parser.parse_args()
    asked = [] if given.peers == "none" else given.peers.split(",")
    for unknown in set(asked) - peers.keys():
        parser.error(f"there is no peer {unknown}: choose of {known}")
    only = given.only.split(",")
    for unknown in set(only) - parts.keys():
        parser.error(f"there is no part {unknown}: choose of {', '.join(parts)}")
    if given.runs < 1:
        parser.error("runs is at least 1")
    chosen = {part: parts[part] for part in parts if part in only}
    return Given(given.runs, given.overload, [peers[peer] for peer in asked], chosen)


def _prepared(peers: Sequence[P]) -> list[P]:
    """Those that can be had; the others are named with the reason."""
    ready: list[P] = []
    for peer in peers:
        try:
            peer.prepare()
            ready.append(peer)
        except Missing as missing:
            console.print(f"skipped: {peer.title}: {missing}", style="yellow")
    return ready


async def _measure(bench: Bench, peers: Sequence[P], parts: Mapping[str, Part[P]]) -> list[Figure]:
    figures: list[Figure] = []
    for part in parts.values():
        figures += await part(bench, peers)
    return figures
