"""Parameters that several resources have, and keyset pages: where a page ends."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query
from pydantic import AwareDatetime

PageToken = Annotated[
    str | None,
    Query(max_length=4000, description="`next_page_token` of the page before, with the same parameters"),
]
AsOf = Annotated[AwareDatetime | None, Query(description="As known at this moment; default: now")]
Version = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="Of the KPI; default: the one in force")
]
Limit = Annotated[int, Query(ge=1, le=10_000, description="Rows on a page")]
SmallLimit = Annotated[int, Query(ge=1, le=500, description="Rows on a page")]


def cut(
    rows: Sequence[Mapping[str, Any]], limit: int, keys: tuple[str, ...]
) -> tuple[Sequence[Mapping[str, Any]], list[Any] | None]:
    """The page, and the key of its last row if there is more: rows were read to `limit` + 1."""
    if len(rows) <= limit:
        return rows, None
    page = rows[:limit]
    return page, [plain(page[-1][key]) for key in keys]


def plain(value: Any) -> Any:
    """A key's value as JSON keeps it."""
    return value.isoformat() if hasattr(value, "isoformat") else value
