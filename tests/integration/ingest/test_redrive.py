"""Dead letters are known by their cause, and driven again by orders that outlive the process."""

import json
from typing import Any

import pytest

from tests.mesh import Mesh, until

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}, {"name": "litres", "type": "int"},
]  # fmt: skip
SOURCE: dict[str, Any] = {
    "kind": "source", "id": "tanked", "title": "Tanked", "owner": "fleet", "event_id": "id", "event_time": "at",
    "key": ["id"], "partitions": 2, "on_malformed": "dead_letter", "fields": FIELDS,
}  # fmt: skip


def define(mesh: Mesh, id: str) -> None:
    mesh.define(SOURCE | {"id": id})
    until(lambda: mesh.service("ingest").post(f"/v1/sources/{id}/events", content=b"[]").status_code == 200)


def event(id: str, **changes: Any) -> dict[str, Any]:
    return {"id": id, "at": "2026-11-24T10:00:00Z", "litres": 7, **changes}


def push(mesh: Mesh, source: str, records: list[Any]) -> list[str]:
    """The ids of the dead letters that they became, once they are stored."""
    body = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in records).encode()
    answer = mesh.service("ingest").post(
        f"/v1/sources/{source}/events", content=body, headers={"Content-Type": "application/x-ndjson"}
    )
    letters = [each["dead_letter"] for each in answer.json()["results"] if "dead_letter" in each]
    count = "SELECT count(*) FROM read.dead_letters WHERE id = ANY(%s)"
    until(lambda: mesh.query(count, letters) == [(len(letters),)])
    return letters


def groups(mesh: Mesh, source: str) -> dict[str, dict[str, Any]]:
    answer = mesh.as_("stew").get("/v1/dead-letters/groups", params={"source": source})
    assert answer.status_code == 200, answer.text
    return {f"{each['code']} {each['field']}": each for each in answer.json()["items"]}


@pytest.fixture(scope="module", autouse=True)
def sources(mesh: Mesh) -> None:
    for id in ("tanked",):
        define(mesh, id)


def test_letters_of_one_cause_are_one_group_wherever_in_the_text_the_fault_stands(mesh: Mesh) -> None:
    extra = [event(f"g{number}", note=number) for number in range(3)]
    texts = [event(f"h{number}", litres="many") for number in range(2)]
    ids = push(mesh, "tanked", [*extra, *texts, '{"id": !', '{    "id": !', event("fine")])
    found = groups(mesh, "tanked")
    counts = {name: each["letters"] for name, each in found.items()}
    assert counts == {"unknown_field note": 3, "wrong_type litres": 2, "malformed None": 2}
    assert len({each["cause"] for each in found.values()}) == 3
    assert set(found["unknown_field note"]["examples"]) == set(ids[:3])
    listed = mesh.as_("stew").get("/v1/dead-letters", params={"source": "tanked"}).json()["items"]
    causes = {each["id"]: each["cause"] for each in listed}
    assert {causes[id] for id in ids[:3]} == {found["unknown_field note"]["cause"]}
    assert all(each["schema_ids"] and each["code_version"] for each in listed)
