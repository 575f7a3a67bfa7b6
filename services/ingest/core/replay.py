"""Replay: how a candidate definition would treat what is real: the last records of its source, and its dead letters.

Only what the definition in force takes can break, and only what it does not take can mend. No value is told.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from libs.common.catalog import Source
from services.ingest.core.records import Bad, Good, Validator
from services.ingest.core.redrives import Letter, again

MOST_FAULTS = 20
"""Told, the most frequent first."""


class Stored(msgspec.Struct, frozen=True):
    """A record as the archive keeps it."""

    schema_id: int
    data: bytes
    """JSON; a field that it had not is null, or lacks."""


def replay(
    candidate: Source, present: Source, records: Sequence[Stored], letters: Sequence[Letter]
) -> dict[str, Any]:
    """`{records, broken, by_schema, faults, letters, mended}`.

    `by_schema`: `{schema_id, records, broken}`, the newest first. `faults`: `{code, field, rule, records}`.
    """
    new, old = Validator(candidate), Validator(present)
    seen, broken = Counter[int](), Counter[int]()
    faults = Counter[tuple[str, str | None, str | None]]()
    for index, record in enumerate(records):
        seen[record.schema_id] += 1
        found = new.single(index, _given(record.data))
        if isinstance(found, Bad) and isinstance(old.single(index, _given(record.data)), Good):
            broken[record.schema_id] += 1
            faults[found.error.code, found.error.field, found.error.rule] += 1
    mended = sum(
        isinstance(again(new, [], letter, index), Good)
        and not isinstance(again(old, [], letter, index), Good)
        for index, letter in enumerate(letters)
    )
    return {
        "records": len(records),
        "broken": broken.total(),
        "by_schema": [
            {"schema_id": id, "records": seen[id], "broken": broken[id]} for id in sorted(seen, reverse=True)
        ],
        "faults": [
            {"code": code, "field": field, "rule": rule, "records": count}
            for (code, field, rule), count in faults.most_common(MOST_FAULTS)
        ],
        "letters": len(letters),
        "mended": mended,
    }


def _given(data: bytes) -> bytes:
    """The record as its sender may have sent it: without the fields that it had not."""
    values = msgspec.json.decode(data, type=dict[str, Any])
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})
