"""The demonstration's definitions as they travel: written out in full, and read again."""

from pathlib import Path

import pytest

from libs.common.catalog.workspace import load, parsed, plain

CATALOG = Path(__file__).parents[3] / "catalog"


def test_a_definition_that_is_written_out_in_full_is_the_same_when_read_again() -> None:
    definitions = load(CATALOG).definitions
    assert definitions
    for each in definitions:
        written = each.model_dump(mode="json", by_alias=True)
        assert type(each).model_validate(written) == each


@pytest.mark.parametrize(
    "content",
    [
        b"since: 2024-13-45", b"title: \x07", b"id: " + b"[" * 5_000, b"id: " + b"9" * 5_000, b"id: !!int one",
        b"id: *other", b"title: \xff",
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams" / "ops.yaml").write_bytes(content)
    (found,) = load(tmp_path).findings
    assert found.file.name == "ops.yaml"
    assert found.rule in ("YAML", "UTF-8")


def test_a_date_that_is_not_quoted_is_the_text_that_it_is(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("day: 2026-01-02\nat: [2026-01-02T10:00:00Z]\n")
    assert plain(parsed(file)) == {"day": "2026-01-02", "at": ["2026-01-02T10:00:00+00:00"]}
