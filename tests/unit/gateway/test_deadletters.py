"""Whatever a dead letter holds, the page of dead letters can be shown."""

import pytest

from services.gateway.core.deadletters import parsed


@pytest.mark.parametrize(
    "payload", [b'{"a":"\\ud800"}', b"[" * 300 + b"]" * 300, b"[" * 100_000, b'{"a":NaN}', b"\xff", b"", None]
)
def test_a_payload_that_no_answer_could_hold_is_no_json(payload: bytes | None) -> None:
    assert parsed(payload) is None


def test_a_payload_that_is_json_is_shown_as_such() -> None:
    assert parsed(b'{"a":[1,{"b":null}]}') == {"a": [1, {"b": None}]}
