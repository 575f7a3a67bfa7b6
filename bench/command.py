"""What every benchmark's command line has: runs, peers, a choice of figures, and servers of its own."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Contender, Missing
from bench.contenders.jvm import JVM_PEERS
from bench.contenders.pypi import PYTHON_PEERS
from bench.contest import Bench
from bench.report import Figure, console, publish
from local import ports, servers
from local.progress import Failed

PEERS: dict[str, Contender] = {peer.name: peer for peer in (*JVM_PEERS, *PYTHON_PEERS)}
USUAL = "flink,kstreams"

Part = Callable[[Bench, Sequence[Contender]], Awaitable[list[Figure]]]
"""Measures some figures, the peers beside."""


@dataclass(frozen=True)
class Given:
    """What was asked for."""

    runs: int
    peers: list[Contender]
    parts: dict[str, Part]


def main(name: str, about: str | None, parts: Mapping[str, Part]) -> None:
    """Run a benchmark; exit code 1 if it cannot run. What it measures never decides."""
    given = _parse(name, about, parts)
    try:
        peers = _prepared(given.peers)
        with tempfile.TemporaryDirectory(prefix="sextant-bench-") as folder:
            home = Path(folder)
            addresses = servers.up(home, ports.free())
            try:
                bench = Bench(addresses, home, given.runs)
                figures = asyncio.run(_measure(bench, peers, given.parts))
            finally:
                servers.down(home)
    except Failed as failed:
        raise SystemExit(f"bench-{name}: {failed}") from failed
    publish(name, figures)


def _parse(name: str, about: str | None, parts: Mapping[str, Part]) -> Given:
    parser = argparse.ArgumentParser(prog=f"make bench-{name}", description=about)
    parser.add_argument("--runs", type=int, default=3, help="of each contender; medians are shown (runs=N)")
    known = ", ".join(PEERS)
    parser.add_argument("--peers", default=USUAL, help=f"of {known}; 'none' for none (peers=…)")
    parser.add_argument("--only", default=",".join(parts), help=f"of {', '.join(parts)} (only=…)")
    given = parser.parse_args()
    peers = [] if given.peers == "none" else given.peers.split(",")
    for unknown in set(peers) - PEERS.keys():
        parser.error(f"there is no peer {unknown}: choose of {known}")
    only = given.only.split(",")
    for unknown in set(only) - parts.keys():
        parser.error(f"there is no part {unknown}: choose of {', '.join(parts)}")
    if given.runs < 1:
        parser.error("runs is at least 1")
    return Given(
        given.runs, [PEERS[peer] for peer in peers], {part: parts[part] for part in parts if part in only}
    )


def _prepared(peers: Sequence[Contender]) -> list[Contender]:
    """Those that can be had; the others are named with the reason."""
    ready: list[Contender] = []
    for peer in peers:
        try:
            peer.prepare()
            ready.append(peer)
        except Missing as missing:
            console.print(f"skipped: {peer.title}: {missing}", style="yellow")
    return ready


async def _measure(bench: Bench, peers: Sequence[Contender], parts: Mapping[str, Part]) -> list[Figure]:
    figures: list[Figure] = []
    for part in parts.values():
        figures += await part(bench, peers)
    return figures
