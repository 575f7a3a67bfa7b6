"""The story that the demonstration tells: a blizzard becomes a decision, a wobble becomes nothing.

The real flights of 31 January to 10 February 2013, through the public API, on a mesh of their own.
"""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from demo import data
from demo.replay import Sender, replay
from libs.common.canonical import fingerprint
from tests.backing.webhook import Webhook, webhook
from tests.mesh import Mesh, running_mesh, until

BEGIN, STORM, END = (datetime(2013, *day, tzinfo=UTC) for day in ((1, 31), (2, 9, 12), (2, 11)))
LOOP = (
    "event_at", "detected_at", "notified_at", "acknowledged_at", "decided_at", "dispatched_at", "executed_at",
    "effect_seen_at",
)  # fmt: skip


@dataclass
class Story:
    mesh: Mesh
    pager: Webhook

    def send(self, start: datetime, end: datetime, *, close: bool) -> None:
        token = self.mesh.token("operator")

        async def send() -> None:
            sender = Sender(self.mesh.stack.gateway, lambda: token)
            try:
                await replay(sender, start=start, end=end, references=start == BEGIN, close=close)
            finally:
                await sender.http.aclose()

        asyncio.run(send())

    def signals(self, **wanted: Any) -> list[dict[str, Any]]:
        found = self.mesh.as_("lena").get("/v1/signals", params={"kpi": "cancellation_rate", **wanted}).json()
        return found["items"]

    def signal(self, id: str) -> dict[str, Any]:
        return self.mesh.as_("lena").get(f"/v1/signals/{id}").json()

    def explained(
        self, who: str, kpi: str, series: str, start: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The explanation, and every raw event of it, page by page."""
        path = f"/v1/explain/observations/{kpi}/{quote(series, safe='') or '-'}/{start}"
        first = page = self.mesh.as_(who).get(path, params={"limit": 50}).json()
        events = list(page["events"]["items"])
        while token := page["events"]["next_page_token"]:
            page = self.mesh.as_(who).get(path, params={"limit": 50, "page_token": token}).json()
            events += page["events"]["items"]
        return first, events


@pytest.fixture(scope="module")
def story(servers: dict[str, str]) -> Generator[Story]:
    """In the middle of the blizzard: its signals are open and sustained, and told."""
    with running_mesh(servers, "story") as mesh, webhook() as pager:
        steps = [
            {"after": "0s", "to": "Duty manager", "via": "log"},
            {"after": "0s", "to": "Duty manager's pager", "via": "webhook", "webhook": pager.url},
            {"after": "1h", "to": "Head of network operations", "via": "log"},
        ]
        mesh.define(
            {
                "kind": "team",
                "id": "network-operations",
                "title": "Network operations",
                "department": "operations",
                "escalation": steps,
            }
        )
        told = Story(mesh, pager)
        told.send(BEGIN, STORM, close=False)
        until(lambda: len(told.signals(state="open", verdict="sustained")) == 3)
        until(lambda: len(pager.calls) >= 3)
        yield told


@pytest.fixture(scope="module")
def jfk(story: Story) -> dict[str, Any]:
    """The blizzard's signal at JFK."""
    return next(each for each in story.signals(verdict="sustained") if each["series"] == {"origin": "JFK"})


@pytest.fixture(scope="module")
def decision(story: Story, jfk: dict[str, Any]) -> dict[str, Any]:
    """Acknowledged by the analyst, decided by the leader."""
    mesh = story.mesh
    taken = mesh.as_("ana").post(f"/v1/signals/{jfk['id']}/acknowledge", json={"note": "on it"})
    assert taken.status_code == 200, taken.text
    order = {
        "signal": jfk["id"], "title": "Cancel the morning at JFK", "choice": "No departures before 15:00",
        "rationale": "The runways are not cleared", "expected": "Normal operations on 10 February",
    }  # fmt: skip
    made = mesh.as_("lena").post("/v1/decisions", json=order)
    assert made.status_code == 201, made.text
    return mesh.as_("lena").get(f"/v1/decisions/{made.json()['id']}").json()


@pytest.fixture(scope="module")
def aftermath(story: Story, jfk: dict[str, Any], decision: dict[str, Any]) -> dict[str, Any]:
    """The signal after the storm has passed and what was decided was done."""
    mesh = story.mesh
    run = next(
        each
        for each in mesh.as_("ana").get("/v1/playbook-runs").json()["items"]
        if each["signal"] == jfk["id"]
    )
    for step in run["steps"]:
        path = f"/v1/playbook-runs/{run['id']}/steps/{step['id']}"
        assert mesh.as_("ana").post(path, json={"done": True}).status_code == 200
    story.send(STORM, END, close=True)

    def seen() -> dict[str, Any] | None:
        """Who stamps the effect may be ahead of who keeps the signal."""
        now = story.signal(jfk["id"])
        return now if now["loop"]["effect_seen_at"] and now["state"] == "closed" else None

    found = until(seen)
    assert found is not None
    return found


def test_the_blizzard_is_a_sustained_signal_at_all_three_airports(story: Story) -> None:
    found = {each["series"]["origin"]: each for each in story.signals(verdict="sustained")}
    assert set(found) == {"EWR", "JFK", "LGA"}
    for each in found.values():
        assert (each["rule"], each["severity"]) == ("mass_cancellations", "critical")
        assert each["first_window"].startswith("2013-02-08T1")


def test_it_is_escalated_by_policy_to_the_log_and_a_webhook_and_no_further(story: Story) -> None:
    ids = {each["id"] for each in story.signals(verdict="sustained")}
    assert {body["signal"] for _, body in story.pager.calls} == ids
    assert len({key for key, _ in story.pager.calls}) == len(story.pager.calls) == 3, "each is told once"
    told = story.mesh.query(
        "SELECT step, to_whom, via, outcome, count(*) FROM read.notifications WHERE signal = ANY(%s)"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1",
        list(ids),
    )
    assert told == [
        (0, "Duty manager", "log", "told", 3),
        (1, "Duty manager's pager", "webhook", "told", 3),
    ]


def test_it_opens_its_playbook(story: Story) -> None:
    runs = story.mesh.as_("vic").get("/v1/playbook-runs").json()["items"]
    assert {(run["playbook"], run["series_key"]) for run in runs} == {
        ("mass_cancellations", f"origin={origin}") for origin in ("EWR", "JFK", "LGA")
    }
    assert all(len(run["steps"]) == 3 for run in runs)


def test_acknowledging_stops_that_escalation_and_no_other(
    story: Story, jfk: dict[str, Any], decision: Any
) -> None:
    rows = story.mesh.query(
        "SELECT signal, state, next_at IS NULL, acknowledged_by FROM read.escalations WHERE signal = ANY(%s)",
        [each["id"] for each in story.signals(verdict="sustained")],
    )
    assert len(rows) == 3
    for signal, *state in rows:
        assert state == (["acknowledged", True, "ana"] if signal == jfk["id"] else ["running", False, None])


@pytest.mark.parametrize("who", ["lena", "ana", "stew", "vic"])
def test_a_decision_is_found_again_and_what_its_maker_saw_is_still_in_the_record(
    story: Story, decision: dict[str, Any], who: str
) -> None:
    client = story.mesh.as_(who)
    for filters in ({}, {"kpi": "cancellation_rate"}, {"signal": decision["signal"]}):
        assert [each["id"] for each in client.get("/v1/decisions", params=filters).json()["items"]] == [
            decision["id"]
        ]
    explained = client.get(f"/v1/explain/decisions/{decision['id']}").json()
    assert (explained["agrees"], explained["stored_intact"]) == (True, True)
    assert (
        explained["rebuilt_hash"]
        == decision["evidence_hash"]
        == fingerprint(explained["decision"]["evidence"])
    )
    assert explained["rebuilt"]["signal"]["verdict"] == "sustained"
    assert len(explained["rebuilt"]["observations"]) >= 3


def test_only_a_leader_decides(story: Story, jfk: dict[str, Any]) -> None:
    for who in ("ana", "stew", "vic"):
        order = {"signal": jfk["id"], "title": "t", "choice": "c"}
        assert story.mesh.as_(who).post("/v1/decisions", json=order).status_code == 403


def test_every_step_from_the_event_to_its_effect_is_stamped_in_order(aftermath: dict[str, Any]) -> None:
    stamps = [aftermath["loop"][name] for name in LOOP]
    assert None not in stamps
    assert stamps == sorted(stamps)
    assert aftermath["state"] == "closed"


def test_a_decision_agrees_with_the_record_also_after_the_signal_went_on(
    story: Story, decision: dict[str, Any], aftermath: dict[str, Any]
) -> None:
    explained = story.mesh.as_("lena").get(f"/v1/explain/decisions/{decision['id']}").json()
    assert explained["agrees"]
    assert len(aftermath["history"]) > explained["rebuilt"]["signal"]["windows"]


def test_a_wobble_of_one_hour_on_another_day_is_transient_and_nobody_is_told(
    story: Story, aftermath: dict[str, Any]
) -> None:
    wobbles = [each for each in story.signals(verdict="transient") if each["first_window"] < "2013-02-08"]
    assert {each["windows"] for each in wobbles} == {1}
    assert [each["first_window"] for each in wobbles if each["series_key"] == "origin=EWR"]
    for each in wobbles:
        detail = story.signal(each["id"])
        assert (detail["state"], detail["escalations"], detail["playbook_runs"]) == ("closed", [], [])
        assert detail["loop"]["notified_at"] is None


@pytest.mark.parametrize(
    ("kpi", "series", "chosen"),
    [
        ("cancellation_rate", "origin=LGA", pl.col("origin") == "LGA"),
        ("cancellations_24h", "origin=EWR", (pl.col("origin") == "EWR") & (pl.col("status") == "cancelled")),
        ("departure_delay", "origin=JFK", (pl.col("origin") == "JFK") & (pl.col("status") != "cancelled")),
        ("on_time_departures", "carrier=UA,origin=EWR",
         (pl.col("origin") == "EWR") & (pl.col("carrier") == "UA") & (pl.col("status") != "cancelled")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_explaining_a_value_leads_to_just_its_raw_events(
    story: Story, aftermath: dict[str, Any], kpi: str, series: str, chosen: pl.Expr
) -> None:
    flights = data.events("departures").filter(chosen & (pl.col(data.CLOCK) < END))
    last = flights[data.CLOCK].max()
    assert isinstance(last, datetime)

    def settled() -> list[dict[str, Any]]:
        """The values, once none is in progress and the last event is in one."""
        query = {"series": series, "limit": 10_000}
        found = story.mesh.as_("vic").get(f"/v1/kpis/{kpi}/observations", params=query).json()["items"]
        final = all(each["status"] == "final" for each in found)
        return (
            found
            if final and any(datetime.fromisoformat(each["window_end"]) > last for each in found)
            else []
        )

    windows = [each for each in until(settled) if each["window_start"] >= "2013-02-07"]
    assert len(windows) > 20
    for window in windows[:: max(1, len(windows) // 6)]:
        explained, events = story.explained("vic", kpi, series, window["window_start"])
        assert (explained["events"]["agrees"], explained["events"]["count"]) == (True, window["count"])
        start, end = (datetime.fromisoformat(window[name]) for name in ("window_start", "window_end"))
        truth = flights.filter((pl.col(data.CLOCK) >= start) & (pl.col(data.CLOCK) < end))
        assert sorted(each["event_id"] for each in events) == sorted(truth["event_id"])
        assert all(each["data"]["tailnum"] is None for each in events), "a viewer sees no registration"


def test_a_session_is_explained_by_its_events_under_the_name_that_the_asker_knows(
    story: Story, aftermath: dict[str, Any]
) -> None:
    path = "/v1/kpis/aircraft_duty/observations"
    for who in ("stew", "lena", "vic"):
        item = (
            story.mesh.as_(who)
            .get(path, params={"limit": 1, "to": "2013-02-08T00:00:00Z"})
            .json()["items"][0]
        )
        explained, events = story.explained(who, "aircraft_duty", item["series_key"], item["window_start"])
        assert explained["events"]["agrees"]
        assert len(events) == item["count"]
        assert explained["observation"]["series"] == item["series"]
        shown = {each["data"]["tailnum"] for each in events}
        assert shown == ({None} if who == "vic" else {item["series"]["tailnum"]})


def test_a_signal_is_explained_by_its_windows_and_the_definition_it_was_judged_by(
    story: Story, jfk: dict[str, Any], aftermath: dict[str, Any]
) -> None:
    explained = story.mesh.as_("vic").get(f"/v1/explain/signals/{jfk['id']}").json()
    assert explained["loop"] == aftermath["loop"]
    beyond = [each for each in explained["observations"] if each["value"] > 0.3 and each["count"] >= 5]
    assert len(beyond) == aftermath["windows"]
    assert "mass_cancellations" in explained["definition"]["text"]


@pytest.mark.parametrize(
    "path", ["sources", "kpis", "signals", "playbook-runs", "objectives", "incidents", "ledger"]
)
@pytest.mark.parametrize("who", ["lena", "ana", "stew", "vic"])
def test_every_list_answers_each_of_the_four_with_something(
    story: Story, aftermath: dict[str, Any], path: str, who: str
) -> None:
    answer = story.mesh.as_(who).get(f"/v1/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["items"] or path == "incidents"
