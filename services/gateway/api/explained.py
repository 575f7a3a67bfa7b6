"""The raw events of a number, found again and counted again."""

from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.catalog import Kpi
from services.gateway.api.asking import Asker
from services.gateway.api.models.explain import ExplainedEvents, SchemaShown


async def explained_events(
    asker: Asker, kpi: Kpi, row: Mapping[str, Any], limit: int, after: list[Any] | None
) -> tuple[ExplainedEvents, list[Any] | None]:
    raise NotImplementedError


async def schemas_of(asker: Asker, source: str, ids: Sequence[int]) -> list[SchemaShown]:
    raise NotImplementedError
