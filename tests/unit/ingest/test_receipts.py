"""A receipt is that of its body, says what was done, and shows that nobody altered it."""

from typing import Any

import pytest

from services.ingest.core.receipts import fault, id_of, sign
from services.ingest.handlers.batch import located

SECRET = b"sixteen bytes or more"
HASH = "9f" * 32
SAID: dict[str, Any] = {
    "id": id_of("departures", HASH), "source": "departures", "sha256": HASH, "count": 3, "published": 2,
    "duplicate": 1, "dead_lettered": 0, "refused": 0, "offsets": {"0": [7, 8]}, "at": "2026-11-24T10:00:00+00:00",
}  # fmt: skip
RECEIPT = {**SAID, "signature": sign(SECRET, SAID)}


def test_a_receipt_that_was_given_holds() -> None:
    assert fault(SECRET, RECEIPT) is None
    assert fault(SECRET, dict(reversed(RECEIPT.items()))) is None


@pytest.mark.parametrize("name", SAID)
def test_whatever_is_altered_is_found_out(name: str) -> None:
    other = {"offsets": {"0": [7, 9]}}.get(name, 4 if isinstance(SAID[name], int) else "else")
    assert fault(SECRET, {**RECEIPT, name: other}) is not None


def test_a_receipt_of_somebody_else_does_not_hold() -> None:
    assert fault(b"another secret of theirs", RECEIPT) is not None
    assert fault(SECRET, {**RECEIPT, "signature": "ü"}) is not None
    assert fault(SECRET, {**RECEIPT, "count": 2**200}) is not None


def test_the_same_body_has_another_receipt_at_another_source() -> None:
    assert id_of("arrivals", HASH) != id_of("departures", HASH)


def test_places_in_a_transaction_are_offsets_by_the_batch_they_are_in() -> None:
    begins = {0: [(0, 100), (10, 110), (20, 120)], 2: [(0, 7)], 3: [(0, -1)]}
    places = {0: (5, 19), 2: (0, 0), 3: (0, 4)}
    assert located(places, begins) == {0: (105, 119), 2: (7, 7)}
