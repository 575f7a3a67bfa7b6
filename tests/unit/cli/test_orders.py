"""Re-drives and backfills, as the command line orders and shows them."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from libs.cli import backfill, letters, server
from libs.cli.main import app

REDRIVE = {
    "id": "0b6e", "source": "departures", "cause": None, "state": "undoing", "letters": 20, "checked": 20,
    "waiting": 4, "driven": 12, "published": 9, "undone": 3, "duplicate": 0, "failing": 4, "before": 0, "exhausted": 0,
    "gone": 0, "note": "its events leave the archive",
}  # fmt: skip
BACKFILL = {
    "id": "9c1f", "kpi": "cancellation_rate", "state": "queued", "windows": 0, "new": 0, "revised": 0, "retracted": 0,
    "events": 0, "rate": None, "eta_seconds": None, "note": "", "withdrawal": "0b6e", "awaits": "2026-11-20T01:00:00Z",
}  # fmt: skip
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Has the gateway answer so."""

    def answer(handle: Answer) -> None:
        made = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(handle))
        monkeypatch.setattr(server.httpx, "Client", lambda **_: made)

    return answer


def test_a_redrive_is_undone_by_its_id_and_says_what_follows(answering: Callable[[Answer], None]) -> None:
    asked: list[tuple[str, str]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json=REDRIVE if request.method == "POST" else {"items": [REDRIVE]})

    answering(handle)
    result = CliRunner().invoke(app, ["redrives", "--undo", "0b6e"])
    assert result.exit_code == 0, result.output
    assert asked == [("POST", "/v1/redrives/0b6e/undo"), ("GET", "/v1/redrives")]
    text = " ".join(result.stdout.split())  # however wide the table is
    assert "9 published · 3 taken back" in text
    assert "its events leave the archive" in text


def test_why_a_redrive_cannot_be_undone_is_said(answering: Callable[[Answer], None]) -> None:
    problem = {"title": "Conflict", "detail": "none of its events is published", "code": "nothing_published"}
    answering(lambda _: httpx.Response(409, json=problem))
    result = CliRunner().invoke(app, ["redrives", "--undo", "0b6e"])
    assert result.exit_code == 1
    assert "none of its events is published" in result.stderr


def test_an_undoing_is_done_when_nothing_is_published_any_more() -> None:
    assert letters.share(REDRIVE) == 0.25
    assert letters.share({**REDRIVE, "published": 0, "undone": 12}) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ["after undoing re-drive 0b6e", "waits until windows up to 2026-11-20T01:00:00Z are closed"]),
        ({"state": "running"}, ["after undoing re-drive 0b6e"]),
        ({"withdrawal": None, "awaits": None}, []),
    ],
)
def test_a_backfill_says_which_undoing_ordered_it_and_what_it_waits_for(
    changes: dict[str, Any], said: list[str]
) -> None:
    assert backfill.line({**BACKFILL, **changes}) == " · ".join([*said, "0 windows compared", "0 events"])
