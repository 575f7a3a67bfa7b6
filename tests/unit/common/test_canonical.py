"""The same content has the same text, whoever wrote it down."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.canonical import canonical, fingerprint

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"b": 1, "a": [1.5, None]}, {"a": [1.5, None], "b": 1.0}),
        (3, 3.0),
        (-0.0, 0),
        ((1, 2), [1, 2]),
    ],
)
def test_what_is_equal_has_one_text(one: object, other: object) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(("one", "other"), [(1, True), ("1", 1), (None, 0), ([1, 2], [2, 1]), (0.1, 0.2)])
def test_what_differs_has_another_fingerprint(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)


@given(JSON)
def test_a_trip_through_json_changes_no_fingerprint(document: object) -> None:
    assert fingerprint(json.loads(json.dumps(document))) == fingerprint(document)
    assert fingerprint(json.loads(canonical(document))) == fingerprint(document)
