"""Some of a field's values are looked through, spread evenly and within bounds, and only kinds and counts come of it."""

from services.quality.core.personal import CHARACTERS, VALUES, found, some


def test_of_few_values_all_are_taken_and_of_many_some_from_everywhere() -> None:
    assert some(["a", "b"]) == ["a", "b"]
    assert some([]) == []
    chosen = some([str(number) for number in range(1_050)])
    assert len(chosen) <= VALUES
    assert (chosen[0], int(chosen[-1]) > 1_000) == ("0", True)


def test_however_long_the_texts_are_only_so_much_is_looked_through() -> None:
    assert sum(map(len, some(["x" * 80_000] * 10))) == CHARACTERS


def test_each_text_counts_once_for_a_kind() -> None:
    counts = found(["a@example.org b@example.org", "a@example.org 203.0.113.7", "nothing"])
    assert counts == {"email": 2, "ip": 1}
