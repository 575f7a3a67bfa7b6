"""The audit: what people do is chained, and the database itself refuses to change it."""

import psycopg
import pytest

from tests.mesh import Mesh, until


def test_a_write_is_in_the_chain_with_who_did_it(mesh: Mesh) -> None:
    body = {"kpi": "wind_gust", "at": "2013-02-08T12:00:00Z", "text": "audited"}
    assert mesh.as_("lena").post("/v1/annotations", json=body).status_code == 201
    query = "SELECT outcome FROM read.audit WHERE actor = 'lena' AND action LIKE '%%annotat%%'"
    assert until(lambda: mesh.query(query))[0] == ("done",)


def test_a_refused_write_is_in_the_chain_too(mesh: Mesh) -> None:
    body = {"kpi": "wind_gust", "at": "2013-02-08T12:00:00Z", "text": "no"}
    assert mesh.as_("vic").post("/v1/annotations", json=body).status_code == 403
    assert until(lambda: mesh.query("SELECT 1 FROM read.audit WHERE actor = 'vic' AND outcome = 'refused'"))


def test_what_no_text_of_a_database_can_hold_is_kept_with_a_sign_in_its_place(mesh: Mesh) -> None:
    """And the chain goes on."""
    body = {"source": "departures", "field": "no\0field", "values": ["tok_1"], "reason": "asked"}
    assert mesh.as_("stew").post("/v1/reveals", json=body).status_code in (404, 422)
    said = {"kpi": "wind_gust", "at": "2013-02-08T13:00:00Z", "text": "after"}
    assert mesh.as_("ana").post("/v1/annotations", json=said).status_code == 201
    until(lambda: mesh.query("SELECT 1 FROM read.audit WHERE actor = 'ana' AND action LIKE '%%annotat%%'"))
    assert mesh.service("governance").get("/v1/audit/verify").json()["intact"] is True


@pytest.mark.parametrize(
    "statement",
    ["UPDATE governance.audit SET hash = ''", "DELETE FROM governance.audit", "TRUNCATE governance.audit"],
)
def test_the_database_refuses_to_change_it(mesh: Mesh, statement: str) -> None:
    until(lambda: mesh.query("SELECT 1 FROM read.audit"))
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        mesh.query(statement)


def test_the_chain_verifies_and_only_those_who_may_ask(mesh: Mesh) -> None:
    answer = mesh.as_("stew").get("/v1/audit/verify")
    assert answer.json()["intact"] is True
    assert mesh.service("governance").get("/v1/audit/verify").json()["intact"] is True
    assert mesh.as_("lena").get("/v1/audit/verify").status_code == 403
