"""What can be read of a body and is no sense is refused, and is no fault of ours."""

import pytest

from tests.mesh import Mesh


@pytest.mark.parametrize("value", ["NaN", "-Infinity", r'"\ud800"'])
@pytest.mark.parametrize("path", ["/v1/catalog/plan", "/v1/sources/try"])
def test_what_json_has_no_word_for_is_a_bad_request(mesh: Mesh, path: str, value: str) -> None:
    definition = f'{{"kind": "source", "id": "odd", "pull": {{"url": "http://localhost", "every": {value}}}}}'
    said = {
        "/v1/catalog/plan": f'{{"definitions": [{definition}]}}',
        "/v1/sources/try": f'{{"definition": {definition}}}',
    }
    answer = mesh.as_("operator").post(path, content=said[path], headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text


def test_a_definition_whose_id_is_none_is_a_problem_of_the_plan(mesh: Mesh) -> None:
    answer = mesh.as_("operator").post(
        "/v1/catalog/plan", json={"definitions": [{"kind": "source", "id": [1]}]}
    )
    assert answer.status_code == 200, answer.text
    assert {"id": "[1]", "path": "id"}.items() <= {
        name: each[name]
        for each in answer.json()["problems"]
        if each["path"] == "id"
        for name in ("id", "path")
    }.items()
