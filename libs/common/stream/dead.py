"""Dead letters: what is kept of a record that cannot be used, and when there are too many of them."""

import base64
from collections import deque
from datetime import datetime

from aiokafka import TopicPartition

from libs.common import clock, telemetry
from libs.common.errors import BadMessage, SextantError
from libs.common.events import CUT, DeadLetter
from libs.common.kafka import Record

MOST_BYTES, MOST_KEY, MOST_HEADERS = 1_000_000, 100_000, 100_000
"""Bytes of a record's value and key, and characters of its headers, that are kept: of one that is as large as a message
may be the letter has to fit into a message too."""


class TooManyDeadLetters(SextantError):
    """So much is bad that the fault is likely ours: stop, rather than set everything aside."""


def dead_letter(
    record: Record,
    tp: TopicPartition,
    error: BadMessage,
    *,
    source: str,
    stage: str,
    service: str,
    now: datetime,
) -> DeadLetter:
    """The letter for one record of `tp`; its id is the record's place, so that it is the same when met again."""
    value = record.value or b""
    cut = {CUT: str(len(value))} if len(value) > MOST_BYTES else {}
    return DeadLetter.build(
        id=f"{tp.topic}/{tp.partition}/{record.offset}",
        source=source,
        stage=stage,
        error=type(error).__name__,
        code=error.code,
        **error.told(),
        topic=tp.topic,
        partition=tp.partition,
        offset=record.offset,
        key_b64=base64.b64encode(record.key[:MOST_KEY]).decode() if record.key is not None else None,
        payload_b64=base64.b64encode(value[:MOST_BYTES]).decode(),
        headers=_headers(record) | cut,
        first_seen=clock.moment(record.timestamp),
        last_seen=now,
        service=service,
        code_version=telemetry.CODE_VERSION,
        trace_id=telemetry.trace_of(record.headers),
    )


def _headers(record: Record) -> dict[str, str]:
    """As text, those that there is room for; one without a value is empty."""
    kept, room = dict[str, str](), MOST_HEADERS
    for name, value in record.headers:
        text = (value or b"").decode("utf-8", "replace")
        room -= len(name) + len(text)
        if room < 0:
            break
        kept[name] = text
    return kept


class Limit:
    """At most `run` bad records on end, and `share` of the last `window` records of a partition."""

    def __init__(self, run: int = 1_000, share: float = 0.5, window: int = 10_000) -> None:
        self.run, self.share, self.window = run, share, window
        self.on_end = 0
        self.recent: deque[tuple[int, int]] = deque()
        self.total = self.bad = 0

    def count(self, records: int, bad: int) -> None:
        """Take a batch into account; TooManyDeadLetters if that is beyond the limit."""
        self.on_end = self.on_end + bad if bad == records else bad and 0
        self.recent.append((records, bad))
        self.total, self.bad = self.total + records, self.bad + bad
        while self.recent and self.total - self.recent[0][0] >= self.window:
            old = self.recent.popleft()
            self.total, self.bad = self.total - old[0], self.bad - old[1]
        if self.on_end > self.run or (self.total >= self.window and self.bad > self.share * self.total):
            raise TooManyDeadLetters(
                f"{self.bad} of the last {self.total} records were bad, {self.on_end} on end"
            )
