"""What an operator sees: JSON logs with trace ids, traces across Kafka, and every metric on one list."""

import json
import logging
import os
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Gauge, Histogram

Headers = list[tuple[str, bytes]]

_PLACE = ("loop", "topic", "partition")

CONSUMED = Counter("sextant_consumed_records", "Records taken from Kafka and done with.", _PLACE)
PRODUCED = Counter("sextant_produced_records", "Records committed to Kafka.", ("loop", "topic"))
BATCH_SECONDS = Histogram("sextant_batch_seconds", "Time from a batch's arrival to its commit.", ("loop",))
LAG = Gauge("sextant_lag_records", "Records between the position and the end of a partition.", _PLACE)
DEAD_LETTERS = Counter("sextant_dead_letters", "Records that could not be used.", ("loop", "topic"))
LATE_EVENTS = Counter("sextant_late_events", "Events after a window of theirs had closed for good.", ("kpi",))
STATE_BYTES = Gauge(
    "sextant_detector_state_bytes", "State of the merge partitions that this process has.", ("kpi",)
)
STATE_ROWS = Gauge("sextant_detector_state_rows", "Partial rows in it.", ("kpi",))
REBUILDS = Counter(
    "sextant_detector_rebuilds",
    "Times that a state was made anew from the events: its log was lost.",
    ("partition",),
)
OPEN_WINDOWS = Gauge(
    "sextant_detector_open_windows", "Panes and sessions that still wait for their end.", ("kpi",)
)
PARITY = Counter(
    "sextant_parity_windows", "Windows compared with plain SQL over their events.", ("kpi", "result")
)
PERSONAL = Counter(
    "sextant_personal_findings",
    "Values that look like personal data, of those that were looked through.",
    ("source", "field", "kind"),
)
_PARTITION = ("source", "partition")
SOURCE_EVENTS = Counter("sextant_source_events", "Events of a source as quality read them.", _PARTITION)
SOURCE_ERRORS = Counter(
    "sextant_source_errors", "Records of a source's topic that quality could not read.", _PARTITION
)
FRESHNESS = Gauge("sextant_freshness_seconds", "Since the last event arrived.", _PARTITION)
HEARTBEAT_AGE = Gauge(
    "sextant_heartbeat_age_seconds",
    "Since ingest last wrote a heartbeat, or an event, that quality read.",
    _PARTITION,
)
EXPECTED_RATE = Gauge(
    "sextant_expected_events_per_minute",
    "Of a source now, by the rhythm that it had; NaN: it cannot be said.",
    ("source",),
)
ERROR_SHARE = Gauge(
    "sextant_error_share", "Dead letters of what a source brought in the last fifteen minutes.", ("source",)
)
OPEN_INCIDENTS = Gauge("sextant_open_incidents", "Incidents that are not resolved.", ("source", "kind"))
LEDGER_IMBALANCE = Gauge(
    "sextant_ledger_imbalance",
    "Records of settled minutes that were accepted and are not archived, or are archived and in no books.",
    ("source", "why"),
)
PARITY_LEFT_OUT = Counter(
    "sextant_parity_left_out_windows",
    "Windows that cannot be compared: what they were made of cannot be had again.",
    ("kpi", "reason"),
)
LATE_ROWS = Counter(
    "sextant_pull_late_rows", "Rows that were committed behind a pull's cursor, and found.", ("source",)
)
SOURCE_RECORDS = Counter(
    "sextant_source_records", "Records written to a source's topic, by partition.", ("source", "partition")
)
SOURCE_BYTES = Counter(
    "sextant_source_bytes", "Bytes written to a source's topic, by partition.", ("source", "partition")
)
REPARTITIONS = Counter(
    "sextant_repartitions",
    "Times that partitions were added to a source: ordered, or unordered, for readers were too far behind.",
    ("source", "result"),
)
RETRIES = Counter("sextant_retries", "Times that a partition had to wait and try again.", _PLACE)
REFUSED = Counter("sextant_refused_pushes", "Requests that ingest refused as a whole.", ("source", "reason"))
WAITING = Gauge("sextant_waiting_pushes", "What waits in ingest to be published.", ("source", "unit"))
PARKED = Gauge("sextant_parked", "What waits in ingest for what it refers to.", ("source", "unit"))
PARKED_ROOM = Gauge("sextant_parked_room", "Share of the room for parked events that is taken.", ("source",))
PARKED_AGE = Gauge("sextant_parked_oldest_seconds", "How long the oldest parked event waits.", ("source",))
HTTP_SECONDS = Histogram("sextant_http_seconds", "Time to answer.", ("method", "route", "status"))
STREAM_CLIENTS = Gauge("sextant_stream_clients", "Clients that listen to the gateway's streams.")
STREAM_FRAMES = Counter("sextant_stream_frames", "Data frames sent to clients.", ("channel",))
LOOP_LAG = Histogram(
    "sextant_event_loop_lag_seconds",
    "How late the event loop runs a timer: above 0.1 something blocks it.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)

# The trace goes on, and no baggage: what a client says there would be written beside its events as it stands.
propagate.set_global_textmap(TraceContextTextMapPropagator())

MAX_LINKS = 16
CODE_VERSION = version("sextant")
tracer = trace.get_tracer("sextant")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: what happened, then its fields (`extra={"fields": {…}}`), then the trace."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        context = trace.get_current_span().get_span_context()
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Ordinary(logging.Filter):
    """Leaves out what a client of Kafka reports as an error and mends by itself: a topic that is just being made,
    a coordinator that moves. What does not mend shows as lag and in readiness."""

    _BEGINNINGS = (
        "Topic %s not found in cluster metadata",
        "No partition metadata for topic",
        "Group Coordinator Request failed",
        "Marking the coordinator dead",
        "Failed fetch offsets from",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.name.startswith("aiokafka") and str(record.msg).startswith(self._BEGINNINGS))


def setup(service: str, level: str = "INFO") -> None:
    """Logs to standard output; spans to OTEL_EXPORTER_OTLP_ENDPOINT when that is set."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    handler.addFilter(Ordinary())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aiokafka", "httpx", "httpcore", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    exports = bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    provider = TracerProvider(
        sampler=None if exports else ALWAYS_OFF,  # they have their ids all the same
        resource=Resource.create({"service.name": service}),
    )
    if exports:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def inject(headers: Iterable[tuple[str, bytes]] = ()) -> Headers:
    """`headers` with the current span's `traceparent`."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    kept = [(name, value) for name, value in headers if name not in carrier]
    return [*kept, *((name, value.encode()) for name, value in carrier.items())]


def extract(headers: Sequence[tuple[str, bytes]]) -> Any:
    """The context that a record's `traceparent` names. Of what others write a header may have no value (None)."""
    return propagate.extract({name: (value or b"").decode("latin-1") for name, value in headers})


def trace_of(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """The id of the trace that a record's `traceparent` names."""
    span = trace.get_current_span(extract(headers)).get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid else None


@contextmanager
def consuming(loop: str, topic: str, records: Sequence[Any]) -> Generator[None]:
    """One span for a batch, linked to the spans that produced its last records (MAX_LINKS of them)."""
    links: list[Link] = []
    for record in records[-MAX_LINKS:]:
        context = trace.get_current_span(extract(record.headers)).get_span_context()
        if context.is_valid:
            links.append(Link(context))
    attributes = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.batch.message_count": len(records),
    }
    with tracer.start_as_current_span(
        f"process {topic}", kind=SpanKind.CONSUMER, links=links, attributes=attributes
    ):
        yield
