"""`python -m demo.replay`: the flights of 2013, replayed in event time through the public API.

All sources run on one replay clock. Requests of one source go strictly one after the other; a request that fails is
repeated until it is accepted, which is safe because events have ids. Ends by declaring the watermark, so that the
last windows close.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from demo import data
from demo.faults import LATEST, Faults, Plan, plan
from demo.truth import between
from libs.common import clock

SLICE = 86_400_000
"""Event time of one request at full speed, in ms."""
BATCH = 5_000
"""Records of one request at most."""


@dataclass
class Sent:
    """What was sent for one source, and what the server said of it."""

    events: int = 0
    late: int = 0
    duplicate: int = 0
    malformed: int = 0
    published: int = 0
    said_duplicate: int = 0
    said_dead_lettered: int = 0
    repeated_requests: int = 0


class Sender:
    """Posts to one gateway, again and again until it is accepted."""

    def __init__(self, server: str, token: Callable[[], str | None], patience: float = 180.0) -> None:
        self.http = httpx.AsyncClient(base_url=server, timeout=60, trust_env=False)
        self.token, self.patience = token, patience

    async def post(self, path: str, content: bytes, kind: str) -> tuple[dict[str, Any], int]:
        """The answer, and how often the request was repeated. Raises what the server refuses for good."""
        deadline, repeats = clock.monotonic() + self.patience, 0
        while True:
            bearer = self.token()
            headers = {"Content-Type": kind, **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
            problem: Exception
            try:
                response = await self.http.post(path, content=content, headers=headers)
                if response.status_code in (200, 207):
                    return response.json(), repeats
                problem = httpx.HTTPStatusError(
                    response.text[:300], request=response.request, response=response
                )
                if response.status_code not in (401, 429, 500, 502, 503, 504):
                    raise problem
            except httpx.TransportError as error:
                problem = error
            if clock.monotonic() > deadline:
                raise problem
            repeats += 1
            await asyncio.sleep(min(2.0, 0.1 * repeats))


def slices(planned: Plan, begin: int, size: int) -> Iterator[tuple[int, list[bytes]]]:
    """(clock at the end of the slice, lines) for every stretch of `size` ms, empty ones included."""
    limit, lines = begin + size, []
    for when, line in planned.sends:
        while when >= limit:
            yield limit, lines
            limit, lines = limit + size, []
        lines.append(line)
    yield limit, lines


async def send_references(sender: Sender) -> None:
    """Reference rows go before the events that are judged by them."""
    for source in data.REFERENCES:
        lines = data.lines(data.references(source))
        await sender.post(
            f"/v1/sources/{source}/events?results=errors", b"\n".join(lines), "application/x-ndjson"
        )


async def send(sender: Sender, source: str, lines: list[bytes], sent: Sent) -> None:
    for start in range(0, len(lines), BATCH):
        body = b"\n".join(lines[start : start + BATCH])
        answer, repeats = await sender.post(
            f"/v1/sources/{source}/events?results=errors", body, "application/x-ndjson"
        )
        sent.published += answer["published"]
        sent.said_duplicate += answer["duplicate"]
        sent.said_dead_lettered += answer["dead_lettered"]
        sent.repeated_requests += repeats


async def declare(sender: Sender, source: str, through: int) -> None:
    body = json.dumps({"through": datetime.fromtimestamp(through / 1000, tz=UTC).isoformat()}).encode()
    await sender.post(f"/v1/sources/{source}/watermark", body, "application/json")


async def replay(
    sender: Sender,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    faults: Faults | None = None,
    speed: float | None = None,
    references: bool = True,
    close: bool = True,
    console: Console | None = None,
    progress_of: Callable[[float], None] = lambda share: None,
) -> dict[str, Sent]:
    """Send the events of [start, end); `speed` is seconds of event time per second, None as fast as it goes.

    `close` declares the watermark far enough that every window is final. Returns what was sent per source.
    """
    faults = faults or Faults()
    plans = {source: plan(source, between(data.events(source), start, end), faults) for source in data.EVENTS}
    sent = {
        source: Sent(each.events, each.late, each.duplicate, each.malformed) for source, each in plans.items()
    }
    if references:
        await send_references(sender)
    if not any(each.sends for each in plans.values()):
        return sent
    size = SLICE if speed is None else max(1000, int(speed * 1000))
    begin = min(each.sends[0][0] for each in plans.values() if each.sends) // size * size
    finish = max(each.sends[-1][0] for each in plans.values() if each.sends)
    streams = {source: slices(each, begin, size) for source, each in plans.items() if each.sends}
    began, steps = clock.monotonic(), 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[day]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console or Console(quiet=True)) as bar:
        task = bar.add_task("replaying", total=finish - begin, day="")
        while streams:
            limit = begin + (steps + 1) * size
            parts = {source: next(stream, None) for source, stream in streams.items()}
            streams = {source: stream for source, stream in streams.items() if parts[source] is not None}
            waiting = [
                send(sender, source, part[1], sent[source])
                for source, part in parts.items()
                if part and part[1]
            ]
            await asyncio.gather(*waiting)
            day = datetime.fromtimestamp(min(limit, finish) / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")
            bar.update(task, completed=limit - begin, day=day)
            progress_of(min(1.0, (limit - begin) / max(1, finish - begin)))
            steps += 1
            if speed is not None:
                await asyncio.sleep(max(0.0, began + steps * size / 1000 / speed - clock.monotonic()))
    if close:
        far = finish + int(LATEST.total_seconds() * 1000) + 10 * SLICE
        await asyncio.gather(*(declare(sender, source, far) for source in plans))
    return sent


def bearer(server: str) -> Callable[[], str | None]:
    """A token of the operator, renewed before it expires; None where there are no passwords."""
    home = Path(os.environ.get("SEXTANT_LOCAL", ".local"))
    held: dict[str, Any] = {"until": 0.0, "token": None}

    def token() -> str | None:
        file = home / "passwords.json"
        if not file.exists():
            return None
        if clock.monotonic() > held["until"]:
            body = {
                "grant_type": "password",
                "username": "operator",
                "password": json.loads(file.read_text())["operator"],
            }
            try:
                answer = httpx.post(f"{server}/v1/token", json=body, timeout=10, trust_env=False).json()
                held.update(token=answer["access_token"], until=clock.monotonic() + answer["expires_in"] / 2)
            except (httpx.TransportError, KeyError, json.JSONDecodeError):
                return held["token"]
        return held["token"]

    return token


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.replay", description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="the gateway")
    parser.add_argument(
        "--speed", type=float, help="seconds of event time per second; as fast as it goes if not given"
    )
    parser.add_argument("--from", dest="start", type=day, help="first day, such as 2013-02-01")
    parser.add_argument("--to", dest="end", type=day, help="first day that is not sent")
    parser.add_argument("--late", type=float, default=0.0, help="share of events sent up to 90 minutes late")
    parser.add_argument("--duplicate", type=float, default=0.0, help="share of events sent twice")
    parser.add_argument(
        "--malformed", type=float, default=0.0, help="share of events with a corrupted copy beside them"
    )
    parser.add_argument("--seed", type=int, default=7, help="the same seed makes the same faults")
    parser.add_argument("--open", action="store_true", help="do not declare the watermark at the end")
    parser.add_argument("--manifest", type=Path, help="write what was sent, per source, as JSON")
    return parser


def main() -> None:
    given = arguments().parse_args()
    faults = Faults(given.late, given.duplicate, given.malformed, given.seed)
    console = Console()

    async def run() -> dict[str, Sent]:
        sender = Sender(given.server, bearer(given.server))
        return await replay(
            sender, start=given.start, end=given.end, faults=faults, speed=given.speed, close=not given.open,
            console=console,
        )  # fmt: skip

    sent = asyncio.run(run())
    shown = {source: asdict(each) for source, each in sent.items()}
    if given.manifest:
        given.manifest.write_text(json.dumps(shown, indent=1))
    console.print_json(data=shown)


if __name__ == "__main__":
    main()
