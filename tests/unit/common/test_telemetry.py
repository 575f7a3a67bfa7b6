"""What an operator sees: one JSON object a line, a trace that crosses Kafka, metrics with known names."""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Response
from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import Counter, Gauge, Histogram

from libs.common import telemetry
from libs.common.http import application
from libs.common.service import Health

METRICS = [each for each in vars(telemetry).values() if isinstance(each, Counter | Gauge | Histogram)]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks.md"


@dataclass
class Record:
    headers: list[tuple[str, bytes]] = field(default_factory=list)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that end during the test."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    return exporter


def line(**extra: object) -> dict[str, object]:
    record = logging.LogRecord("a.logger", logging.INFO, "file", 1, "window closed", None, None)
    vars(record).update(extra)
    text = telemetry.JsonFormatter("detector").format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_log_line_is_one_json_object_with_its_fields(spans: InMemorySpanExporter) -> None:
    found = line(fields={"kpi": "x", "text": "two\nlines"})
    assert (found["event"], found["service"], found["level"]) == ("window closed", "detector", "info")
    assert (found["kpi"], found["text"]) == ("x", "two\nlines")
    assert "trace_id" not in found


def test_a_log_line_within_a_span_names_its_trace(spans: InMemorySpanExporter) -> None:
    with telemetry.tracer.start_as_current_span("work") as span:
        assert line()["trace_id"] == f"{span.get_span_context().trace_id:032x}"


def test_a_batch_is_linked_to_what_produced_its_records(spans: InMemorySpanExporter) -> None:
    records = []
    for _ in range(3):
        with telemetry.tracer.start_as_current_span("produce"):
            records.append(Record(telemetry.inject([("sx-receipt", b"r")])))
    with telemetry.consuming("archive.events", "events.x", [*records, Record()]):
        pass
    *produced, consumed = spans.get_finished_spans()
    ids = [span.context.span_id for span in produced if span.context]
    assert [link.context.span_id for link in consumed.links] == ids
    assert len(ids) == 3
    assert ("sx-receipt", b"r") in records[0].headers


def test_a_large_batch_has_a_bounded_number_of_links(spans: InMemorySpanExporter) -> None:
    with telemetry.tracer.start_as_current_span("produce"):
        record = Record(telemetry.inject())
    with telemetry.consuming("archive.events", "events.x", [record] * 5_000):
        pass
    assert 0 < len(spans.get_finished_spans()[-1].links) <= telemetry.MAX_LINKS


def test_a_trace_passed_on_replaces_the_one_that_was_there(spans: InMemorySpanExporter) -> None:
    with telemetry.tracer.start_as_current_span("work") as span:
        headers = telemetry.inject([("traceparent", b"00-old")])
    ((_, value),) = headers
    assert f"{span.get_span_context().trace_id:032x}" in value.decode()


def test_what_a_client_says_as_baggage_is_not_written_beside_its_events(spans: InMemorySpanExporter) -> None:
    said = {"traceparent": TRACEPARENT, "baggage": "passenger=Jane%20Doe"}
    token = contexts.attach(propagate.extract(said))
    try:
        assert [name for name, _ in telemetry.inject()] == ["traceparent"]
    finally:
        contexts.detach(token)


async def asked(endpoint: Callable[[], Awaitable[Response]]) -> httpx.Response:
    router = APIRouter()
    router.add_api_route("/here", endpoint)
    transport = httpx.ASGITransport(application("test", Health(), router))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/here", headers={"traceparent": TRACEPARENT})


async def test_a_request_is_a_span_of_the_trace_that_it_came_with(spans: InMemorySpanExporter) -> None:
    async def endpoint() -> Response:
        return Response(dict(telemetry.inject())["traceparent"])

    answer = await asked(endpoint)
    (span,) = spans.get_finished_spans()
    assert span.name == "GET /here"
    assert span.parent is not None
    assert span.context is not None
    assert f"{span.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert answer.text == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_what_nobody_foresaw_is_a_500_with_its_trace_and_is_kept_with_the_span(
    spans: InMemorySpanExporter,
) -> None:
    async def endpoint() -> Response:
        raise ZeroDivisionError("of the test")

    answer = await asked(endpoint)
    (span,) = spans.get_finished_spans()
    assert (answer.status_code, answer.json()["trace_id"]) == (500, TRACEPARENT.split("-")[1])
    assert [event.name for event in span.events] == ["exception"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "of the test" not in answer.text


def test_every_metric_is_ours_by_name_and_says_what_it_counts() -> None:
    described = [family for metric in METRICS for family in metric.describe()]
    assert len(described) >= 9
    assert [family.name for family in described if not family.name.startswith("sextant_")] == []
    assert [family.name for family in described if not family.documentation] == []


def test_the_runbooks_speak_of_metrics_that_there_are() -> None:
    names = {family.name for metric in METRICS for family in metric.describe()}
    assert set(re.findall(r"\bsextant_[a-z_]+", RUNBOOKS.read_text())) <= names
