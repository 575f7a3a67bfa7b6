"""Who may come in, and what everybody is told who may not."""

import httpx
import pytest

from tests.mesh import Mesh


def test_a_wrong_password_is_refused_and_many_are_slowed_down(mesh: Mesh) -> None:
    body = {"username": "nobody", "password": "wrong"}
    codes = [
        httpx.post(f"{mesh.stack.gateway}/v1/token", json=body, trust_env=False).status_code
        for _ in range(30)
    ]
    assert codes[0] == 401
    assert codes[-1] == 429


@pytest.mark.parametrize("path", ["/v1/kpis", "/v1/signals", "/v1/audit", "/v1/explain/signals/x"])
def test_nothing_is_answered_without_a_token(mesh: Mesh, path: str) -> None:
    answer = httpx.get(mesh.stack.gateway + path, trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJsZW5hIn0."])
def test_a_forged_token_is_refused(mesh: Mesh, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{mesh.stack.gateway}/v1/kpis", headers=headers, trust_env=False).status_code == 401


@pytest.mark.parametrize(
    ("who", "method", "path", "body"),
    [
        ("vic", "POST", "/v1/decisions", {"signal": "x", "title": "t", "choice": "c"}),
        ("ana", "POST", "/v1/catalog/apply", {"definitions": []}),
        ("lena", "GET", "/v1/audit", None),
        ("stew", "POST", "/v1/sources/departures/events", {}),
    ],
)
def test_each_role_is_kept_from_what_it_may_not(
    mesh: Mesh, who: str, method: str, path: str, body: object
) -> None:
    answer = mesh.as_(who).request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_the_published_documents_are_served(mesh: Mesh) -> None:
    openapi = httpx.get(f"{mesh.stack.gateway}/openapi.json", trust_env=False).json()
    asyncapi = httpx.get(f"{mesh.stack.gateway}/asyncapi.json", trust_env=False).json()
    assert openapi["openapi"].startswith("3.1")
    assert asyncapi["asyncapi"].startswith("3.")


def test_an_unknown_path_and_a_wrong_body_are_problems_with_a_code(mesh: Mesh) -> None:
    assert mesh.as_("lena").get("/v1/kpis/nonsense").json()["code"]
    wrong = mesh.as_("lena").post("/v1/annotations", json={"kpi": 5})
    assert wrong.status_code == 422
    assert wrong.json()["code"]
