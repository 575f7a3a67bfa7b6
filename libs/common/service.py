"""One screen of service runner: an HTTP server, some loops, signals, drain, health."""

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
import uvloop
from fastapi import FastAPI

from libs.common import clock, telemetry
from libs.common.settings import ServiceSettings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0


class _Server(uvicorn.Server):
    """Leaves the signals to `serve`, which has more to stop than HTTP."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass
class Readiness:
    """Whether one part of a service can do its work, and if not why."""

    reason: str | None = "starting"

    def ready(self) -> None:
        self.reason = None

    def not_ready(self, reason: str) -> None:
        self.reason = reason


@dataclass
class Health:
    """The parts of a service that readiness asks for."""

    parts: dict[str, Readiness] = field(default_factory=dict)

    def part(self, name: str) -> Readiness:
        return self.parts.setdefault(name, Readiness())

    @property
    def failing(self) -> dict[str, str]:
        return {name: part.reason for name, part in self.parts.items() if part.reason is not None}


Loop = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set, then finishes what it has in hand."""


async def serve(settings: ServiceSettings, app: FastAPI, loops: Mapping[str, Loop]) -> None:
    """Run the HTTP server and the loops until SIGTERM or SIGINT, then drain for at most DRAIN_SECONDS.

    A loop that fails, or ends by itself, ends the process with the error: whoever started it starts it again.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=int(DRAIN_SECONDS),
            server_header=False,
            ws="websockets-sansio",
        )
    )
    tasks = [
        asyncio.create_task(_until_stopped(name, loop, stopping), name=name) for name, loop in loops.items()
    ]
    tasks.append(asyncio.create_task(_probe(stopping), name="probe"))
    serving = asyncio.create_task(server.serve(), name="http")
    stop = asyncio.create_task(stopping.wait())
    log.info("started", extra={"fields": {"port": settings.port, "loops": list(loops)}})
    await asyncio.wait({*tasks, serving, stop}, return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    server.should_exit = True
    done, late = await asyncio.wait({*tasks, serving}, timeout=DRAIN_SECONDS)
    for task in late:
        log.error("did not drain in time", extra={"fields": {"loop": task.get_name()}})
        task.cancel()
    stop.cancel()
    for task in done:
        task.result()
    log.info("stopped")


async def _until_stopped(name: str, loop: Loop, stopping: asyncio.Event) -> None:
    await loop(stopping)
    if not stopping.is_set():
        raise RuntimeError(f"loop {name} ended by itself")


async def _probe(stopping: asyncio.Event) -> None:
    """How late timers run: the event loop's own health."""
    while not stopping.is_set():
        asked = clock.monotonic()
        await asyncio.sleep(0.5)
        telemetry.LOOP_LAG.observe(max(0.0, clock.monotonic() - asked - 0.5))


def run(name: str, settings: ServiceSettings, main: Callable[[], Awaitable[None]]) -> None:
    """The whole life of a process: logs, traces, `main`, and one clear line if it fails (exit code 1)."""
    telemetry.setup(name, settings.log_level)
    _collect_seldom()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())  # type: ignore[arg-type]
    except Exception:
        log.exception("the service ends: it cannot go on")
        raise SystemExit(1) from None


def _collect_seldom() -> None:
    """Records come by ten thousands at once and go again: looking for cycles among them is the collector's work in vain.

    What was imported is never looked at, and a collection is worth it after 100,000 objects more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
