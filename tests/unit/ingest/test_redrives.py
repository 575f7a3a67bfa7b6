"""Orders of re-drive: what follows on what, how fast, and which letters are driven."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.catalog import Source
from libs.common.errors import Conflict
from services.ingest.core.records import Good, Validator
from services.ingest.core.redrives import (
    Command,
    Letter,
    Order,
    State,
    Verdict,
    again,
    checked,
    commanded,
    room,
    settled,
)

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SOURCE = Source.model_validate(
    {
        "id": "tanks", "title": "Tanks", "owner": "fleet", "event_id": "id", "event_time": "at", "key": ["id"],
        "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
    }
)  # fmt: skip
FINE = b'{"id": "a", "at": "2026-11-24T10:00:00Z"}'


def order(state: State = "checking", **changes: Any) -> Order:
    said: dict[str, Any] = {"dry_run": False, "canary": None, "rate": 1_000.0, **changes}
    return Order(
        id="o", source="tanks", cause=None, fix=[], reason="", by="operator", state=state, note="", ordered_at=NOW,
        changed_at=NOW, **said,
    )  # fmt: skip


def test_after_the_check_a_dry_run_waits_and_others_go_on() -> None:
    assert checked(order(dry_run=True, canary=3)) == "checked"
    assert checked(order(canary=3)) == "canary"
    assert checked(order()) == "running"


@pytest.mark.parametrize(
    ("state", "canary", "driven", "then"),
    [
        ("checked", None, 0, "running"),
        ("checked", 3, 0, "canary"),
        ("tried", 3, 3, "running"),
        ("paused", 3, 2, "canary"),
        ("paused", 3, 3, "running"),
    ],
)
def test_go_leads_through_the_canary_that_is_not_done(
    state: State, canary: int | None, driven: int, then: State
) -> None:
    assert commanded(order(state, canary=canary), "go", driven) == then


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("running", "go"),
        ("checking", "pause"),
        ("tried", "pause"),
        ("done", "cancel"),
        ("cancelled", "go"),
        ("running", "undo"),
        ("undone", "undo"),
        ("undone", "go"),
    ],
)
def test_a_command_that_does_not_fit_the_state_is_a_conflict_that_says_when_it_would(
    state: State, command: Command
) -> None:
    with pytest.raises(Conflict, match="it is for") as caught:
        commanded(order(state), command, 0)
    assert caught.value.code == "wrong_state"


@pytest.mark.parametrize("state", ["tried", "paused", "done", "cancelled", "failed"])
def test_what_stands_still_can_be_undone(state: State) -> None:
    assert commanded(order(state), "undo", 3) == "undoing"


def test_a_step_is_no_more_than_a_second_of_the_rate_or_what_the_canary_has_left() -> None:
    assert room(order("running", rate=1_000.0), 0) == 200
    assert room(order("running", rate=30.0), 0) == 30
    assert room(order("running", rate=0.2), 0) == 1
    assert room(order("canary", canary=10), 7) == 3
    assert room(order("canary", canary=10), 10) == 0


@pytest.mark.parametrize(
    ("letter", "code"),
    [
        (Letter("1", FINE, {}, "events.tanks"), "on_a_topic"),
        (Letter("1", FINE, {"sx-payload-bytes": "12000000"}, None), "cut"),
        (Letter("1", b'{"id": "a"}', {}, None), "missing_field"),
        (Letter("1", b"", {}, None), "malformed"),
    ],
)
def test_a_letter_that_cannot_be_driven_says_why(letter: Letter, code: str) -> None:
    found = again(Validator(SOURCE), [], letter, 0)
    assert isinstance(found, Verdict)
    assert (found.outcome, found.code) == ("fails", code)
    assert found.rule


def test_what_is_said_of_a_letter_can_be_stored_however_its_fields_are_called() -> None:
    payload = FINE[:-1] + b', "a\\u0000' + b"b" * 10_000 + b'": 1}'
    found = again(Validator(SOURCE), [], Letter("1", payload, {}, None), 0)
    assert isinstance(found, Verdict)
    assert found.code == "unknown_field"
    assert all("\0" not in (text or "") and len(text or "") <= 500 for text in (found.field, found.rule))


def test_a_letter_that_fits_is_a_record() -> None:
    found = again(Validator(SOURCE), [], Letter("1", FINE, {}, None), 4)
    assert isinstance(found, Good)
    assert (found.index, found.event_id) == (4, "a")


def test_a_step_that_is_done_again_knows_what_it_had_published_and_what_was_there_before() -> None:
    goods = [Good(index, (), b"", id, NOW, b"") for index, id in enumerate(("a", "a", "b", "c"))]
    results = [
        {"status": "duplicate", "receipt": "ours"},
        {"status": "duplicate", "receipt": "ours"},
        {"status": "duplicate", "receipt": "of a push"},
        {"status": "published"},
    ]
    found = [verdict.outcome for verdict in settled(goods, results, "ours")]
    assert found == ["published", "duplicate", "duplicate", "published"]
