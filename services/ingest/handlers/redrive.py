"""Re-drive: dead letters validated against the present definition and, where they pass, published after all."""

import base64
from collections.abc import Sequence
from typing import Any

import asyncpg

from libs.common import clock
from libs.common.events import DeadLetter
from libs.common.kafka import read_all
from libs.common.topics import DEAD
from services.ingest import store
from services.ingest.core.records import Bad, Good
from services.ingest.handlers.batch import KEPT_OF, Submission
from services.ingest.handlers.writers import Writers


async def redrive(
    writers: Writers,
    pool: asyncpg.Pool,
    source: str,
    *,
    ids: Sequence[str] | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    limit: int = 10_000,
) -> dict[str, Any]:
    """Counts, and an outcome per dead letter: passes, redriven, duplicate, fails (with the reason), done before.

    Each letter is driven once; the event's id guards against a second time as well.
    """
    writer = writers.get(source)
    letters = [each for each in await _letters(writers, source) if _wanted(each, ids, reason)][:limit]
    before = await store.redriven(pool, [letter.id for letter in letters])
    outcomes: dict[str, dict[str, Any]] = {}
    passing: list[tuple[DeadLetter, Good]] = []
    for letter in letters:
        if letter.id in before:
            outcomes[letter.id] = {"outcome": "done before"}
            continue
        if KEPT_OF in letter.headers:
            reason_why = f"only the beginning of its {letter.headers[KEPT_OF]} bytes was kept"
            outcomes[letter.id] = {"outcome": "fails", "reason": reason_why}
            continue
        checked = writer.validator.single(len(passing), base64.b64decode(letter.payload_b64))
        if isinstance(checked, Bad):
            outcomes[letter.id] = {"outcome": "fails", "reason": checked.error.reason}
        else:
            outcomes[letter.id] = {"outcome": "passes"}
            passing.append((letter, checked))
    if passing and not dry_run:
        submission = Submission([good for _, good in passing])
        await writer.submit(submission)
        await store.note_redriven(pool, [letter.id for letter, _ in passing], submission.receipt, clock.now())
        for (letter, _), result in zip(passing, submission.results, strict=True):
            published = result["status"] == "published"
            outcomes[letter.id] = {
                "outcome": "redriven" if published else "duplicate",
                "receipt": submission.receipt,
            }
    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome["outcome"]] = counts.get(outcome["outcome"], 0) + 1
    shown = [{"id": id, **outcome} for id, outcome in outcomes.items()]
    return {
        "source": source,
        "dry_run": dry_run,
        "considered": len(letters),
        "counts": counts,
        "results": shown,
    }


async def _letters(writers: Writers, source: str) -> list[DeadLetter]:
    """The source's dead letters, one of each id."""
    found: dict[str, DeadLetter] = {}
    async for records in read_all(writers.settings, DEAD.name):
        for record in records:
            if record.key == source.encode():
                letter = DeadLetter.decode(record.value or b"")
                found[letter.id] = letter
    return list(found.values())


def _wanted(letter: DeadLetter, ids: Sequence[str] | None, reason: str | None) -> bool:
    return (ids is None or letter.id in ids) and (reason is None or reason in letter.reason)
