"""A definition that is none is refused with the path of what is wrong."""

from typing import Any

import pytest

from libs.common.errors import Invalid
from services.ingest.handlers.definitions import sound

SOURCE: dict[str, Any] = {
    "id": "drops", "title": "Drops", "owner": "nobody-yet", "event_id": "id", "event_time": "at", "key": ["id"],
    "fields": [{"name": "id", "type": "string"}, {"name": "at", "type": "timestamp"}],
}  # fmt: skip


def test_one_that_is_sound_is_a_source_whoever_owns_it() -> None:
    assert sound(SOURCE).id == "drops"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fields": [{"name": "id", "type": "text"}]}, "fields.0.type: "), ({"event_id": "ID"}, "event_id: "),
        ({"titel": "Drops"}, "titel: "), ({"key": ["idd"]}, "did you mean id?"),
    ],
)  # fmt: skip
def test_one_that_is_not_is_refused_with_the_path(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        sound(SOURCE | changes)
    assert said in refused.value.detail
