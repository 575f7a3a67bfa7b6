"""What an operator sees: one JSON object a line, a trace that crosses Kafka, metrics with known names."""

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import Counter, Gauge, Histogram

from libs.common import telemetry

METRICS = [each for each in vars(telemetry).values() if isinstance(each, Counter | Gauge | Histogram)]
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


def test_every_metric_is_ours_by_name_and_says_what_it_counts() -> None:
    described = [family for metric in METRICS for family in metric.describe()]
    assert len(described) >= 9
    assert [family.name for family in described if not family.name.startswith("sextant_")] == []
    assert [family.name for family in described if not family.documentation] == []


def test_the_runbooks_speak_of_metrics_that_there_are() -> None:
    names = {family.name for metric in METRICS for family in metric.describe()}
    assert set(re.findall(r"\bsextant_[a-z_]+", RUNBOOKS.read_text())) <= names
