"""Catalog entries: the compacted topic `catalog`, one key `kind/id` per definition."""

from typing import Any

from libs.common.events.event import Event, Moment


class CatalogEntry(Event):
    """One version of one definition; `definition` is None once it was removed."""

    kind: str
    id: str
    definition_version: int
    """Counts up with every change of this definition."""
    definition: dict[str, Any] | None
    schema_id: int | None = None
    """Registry id of a source's schema."""
    applied_at: Moment
    applied_by: str

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.id}"
