"""Consume loops with three outcomes for a record: done, bad (dead letter), not now (wait and try again)."""

from libs.common.stream.backoff import Backoff
from libs.common.stream.dead import Limit, TooManyDeadLetters, dead_letter
from libs.common.stream.stored import StoredLoop
from libs.common.stream.transactional import Output, Outputs, Processor, TransactionalLoop, send
from libs.common.stream.urgency import Urgency

__all__ = [
    "Backoff",
    "Limit",
    "Output",
    "Outputs",
    "Processor",
    "StoredLoop",
    "TooManyDeadLetters",
    "TransactionalLoop",
    "Urgency",
    "dead_letter",
    "send",
]
