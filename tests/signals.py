"""Signals put on the bus as the detector would."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from libs.common.events import SignalChanged
from tests.mesh import Mesh


def signal(kpi: str, **more: Any) -> SignalChanged:
    """A change of a signal on a KPI whose dimension is `id`."""
    now = "2026-11-24T10:00:00Z"
    fields = {
        "id": uuid4().hex, "change": "opened", "kpi": kpi, "kpi_version": 1, "series": {"id": "x"},
        "series_key": "id=x", "rule": "high", "kind": "threshold", "severity": "warning", "verdict": "undecided",
        "first_window": now, "last_window": now, "event_at": now, "windows": 1, "value": 1.0, "peak": 1.0,
        "detected_at": now, "recorded_at": now, **more,
    }  # fmt: skip
    return SignalChanged.model_validate(fields)


async def publish(mesh: Mesh, *signals: SignalChanged) -> None:
    """Returns when the brokers have all of them, in order."""
    await publish_all(mesh, signals)


async def publish_all(mesh: Mesh, signals: Iterable[SignalChanged]) -> None:
    topic = mesh.stack.env["SEXTANT_PREFIX"] + "signals"
    async with AIOKafkaProducer(bootstrap_servers=mesh.stack.env["SEXTANT_KAFKA"]) as producer:
        sent = [await producer.send(topic, each.encode(), key=each.id.encode()) for each in signals]
        for each in sent:
            await each
