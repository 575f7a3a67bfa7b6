"""The dashboard in Chromium, on the whole mesh with the days of the blizzard in it and events still coming."""

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from demo.replay import Sender, bearer, replay
from demo.verify import ROOT
from tests.mesh import Mesh, until

BEGIN, STORY = datetime(2013, 2, 6, tzinfo=UTC), datetime(2013, 2, 10, tzinfo=UTC)
HOURS_A_STEP = 2
"""Small steps: the values move many times while the browser looks."""


@contextmanager
def flights_still_leaving(sender: Sender) -> Generator[None]:
    """The hours after the story, one after the other, until left."""
    over = threading.Event()

    async def go_on() -> None:
        now, step = STORY, timedelta(hours=HOURS_A_STEP)
        while not over.is_set():
            await replay(sender, start=now, end=now + step, references=False, close=False)
            now += step
            await asyncio.to_thread(over.wait, 1.5)

    async def all_of_it() -> None:
        try:
            await replay(sender, start=BEGIN, end=STORY, close=False)
            told.set()
            await go_on()
        finally:
            await sender.http.aclose()

    told = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(all_of_it()))
    thread.start()
    try:
        assert told.wait(180), "the days of the blizzard were not accepted"
        yield
    finally:
        over.set()
        thread.join()


def closed(mesh: Mesh) -> set[str]:
    """The airports whose mass cancellations are over, as people are told of them: sustained, and closed again."""
    answer = mesh.as_("lena").get("/v1/signals?kpi=cancellation_rate&verdict=sustained&state=closed")
    return {each["series_key"] for each in answer.json().get("items", ())}


@pytest.mark.timeout(1200)
def test_people_do_in_a_browser_what_the_dashboard_promises(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEXTANT_LOCAL", str(mesh.stack.home))
    sender = Sender(mesh.stack.gateway, bearer(mesh.stack.gateway))
    with flights_still_leaving(sender):
        endless = {"k" * 500: "a name that no page is wide enough for"}
        assert mesh.service("ingest").post("/v1/sources/departures/events", json=endless).status_code == 200
        until(lambda: {"origin=EWR", "origin=JFK", "origin=LGA"} <= closed(mesh), seconds=120)
        done = subprocess.run(
            ["npm", "run", "--silent", "test:browser"],
            cwd=ROOT / "dashboard",
            env={
                **os.environ,
                "SEXTANT_GATEWAY_URL": mesh.stack.gateway,
                "SEXTANT_PASSWORDS": json.dumps(mesh.passwords),
                "NO_COLOR": "1",
            },
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
