"""A KPI whose state would take the process's memory gives way, and says so; the others go on, exact."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.detectors import BEGIN, Detectors, Event, catalog, end, kpi, published, running, send
from tests.mesh import until

KPIS = [kpi("by_key", source="pulses"), kpi("in_all", source="pulses", by=[], value="count(*)")]
KEYS = 4_000


def state(detectors: Detectors) -> dict[str, Any]:
    try:
        return httpx.get(
            f"http://127.0.0.1:{detectors.env[0]['SEXTANT_PORT']}/v1/state", trust_env=False
        ).json()
    except httpx.HTTPError:
        return {"parked": {}, "kpis": []}


def test_a_kpi_with_too_much_state_is_parked_with_its_reason_and_the_others_run_on(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    events: list[Event] = [(number % 2, BEGIN + 15 * number, f"key-{number}", 1) for number in range(KEYS)]
    with running(servers, namespace, database, tmp_path, catalog(KPIS), SEXTANT_STATE_MIB="0.2") as detectors:
        asyncio.run(send(detectors.settings, events, 0))
        assert until(lambda: "by_key" in state(detectors)["parked"], seconds=60)
        assert "SEXTANT_STATE_MIB" in state(detectors)["parked"]["by_key"]
        detectors.kill(0)
        # It is shown a little before it is committed: a kill in between has it parked anew.
        until(
            lambda: len(state(detectors)["kpis"]) == 8 and state(detectors)["parked"].keys() == {"by_key"},
            seconds=60,
        )
        more: list[Event] = [(place % 2, BEGIN + 90_000, None, 1) for place in range(10)]
        asyncio.run(send(detectors.settings, more, KEYS))
        asyncio.run(end(detectors.settings))
        wanted = {BEGIN: 4_000, BEGIN + 60_000: 10}
        assert until(
            lambda: (
                {
                    start: seen[1]
                    for (id, _, start), seen in asyncio.run(published(detectors.settings)).items()
                    if id == "in_all"
                }
                == wanted
            ),
            seconds=60,
        )
