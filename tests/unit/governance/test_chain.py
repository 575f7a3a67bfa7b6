"""What was done to the audit chain shows."""

from dataclasses import replace
from typing import Any

import pytest

from services.governance.core.chain import GENESIS, Head, Row, canonical, link, verify


def chain(count: int) -> list[Row]:
    rows: list[Row] = []
    previous = GENESIS
    for seq in range(1, count + 1):
        entry: dict[str, Any] = {"actor": "lena", "seq": seq}
        text = canonical(entry)
        rows.append(Row(seq, entry, text, previous, link(previous, text)))
        previous = rows[-1].hash
    return rows


ROWS = chain(6)
HEADS = [Head(row.seq, row.hash) for row in ROWS[1::2]]


def rechained(rows: list[Row]) -> list[Row]:
    """Somebody who hashes everything again after a change."""
    previous, out = GENESIS, []
    for row in rows:
        out.append(Row(row.seq, row.entry, row.text, previous, link(previous, row.text)))
        previous = out[-1].hash
    return out


def test_an_untouched_chain_has_no_faults() -> None:
    assert verify(ROWS, HEADS) == []


TAMPERED = {
    "an entry is edited": [replace(row, entry={"actor": "vic"}) if row.seq == 3 else row for row in ROWS],
    "its text is edited too": [
        replace(row, entry={"actor": "vic"}, text=canonical({"actor": "vic"})) if row.seq == 3 else row
        for row in ROWS
    ],
    "one in the middle is deleted": [row for row in ROWS if row.seq != 3],
    "the tail is cut": ROWS[:4],
    "everything is deleted": [],
    "the chain is hashed again": rechained(
        [
            replace(row, entry={"actor": "vic"}, text=canonical({"actor": "vic"})) if row.seq == 1 else row
            for row in ROWS
        ]
    ),
    "two are swapped": [ROWS[0], ROWS[2], ROWS[1], *ROWS[3:]],
}


@pytest.mark.parametrize("rows", TAMPERED.values(), ids=TAMPERED)
def test_tampering_is_found(rows: list[Row]) -> None:
    assert verify(rows, HEADS)
