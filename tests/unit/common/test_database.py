"""What PostgreSQL cannot hold is stored with a sign in its place."""

from libs.common.database import storable


def test_a_nul_becomes_its_sign_wherever_it_is_and_all_else_stays() -> None:
    said = {"a\0": ["\0b", {"c": "d"}, 1, None, True], "e": "\\u0000"}
    assert storable(said) == {"a␀": ["␀b", {"c": "d"}, 1, None, True], "e": "\\u0000"}
