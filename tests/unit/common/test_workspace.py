"""The demonstration's definitions as they travel: written out in full, and read again."""

from pathlib import Path

from libs.common.catalog.workspace import load

CATALOG = Path(__file__).parents[3] / "catalog"


def test_a_definition_that_is_written_out_in_full_is_the_same_when_read_again() -> None:
    definitions = load(CATALOG).definitions
    assert definitions
    for each in definitions:
        written = each.model_dump(mode="json", by_alias=True)
        assert type(each).model_validate(written) == each
