"""The registry is asked of the schemas that a body names, within bounds."""

from typing import Any, cast

import httpx
import pytest

from libs.common.errors import BadMessage
from libs.common.registry import Registry
from services.ingest.handlers.schemas import MOST_NEW, Schemas
from tests.ingests import settings


def schemas(asked: list[str]) -> Schemas:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={"schemaType": "JSON", "schema": "{}"})

    registry = Registry(settings())
    registry.http = httpx.AsyncClient(
        base_url="http://registry", transport=httpx.MockTransport(cast(Any, answer))
    )
    return Schemas(registry)


async def test_a_body_of_more_new_schemas_than_are_asked_for_is_refused_and_none_is() -> None:
    asked: list[str] = []
    with pytest.raises(BadMessage, match="101 schemas") as refused:
        await schemas(asked).of(range(1, MOST_NEW + 2))
    assert refused.value.code == "too_many_schemas"
    assert asked == []


async def test_schemas_that_are_known_count_no_more() -> None:
    asked: list[str] = []
    known = schemas(asked)
    await known.of(range(1, MOST_NEW + 1))
    assert set(await known.of(range(1, 2 * MOST_NEW + 1))) == set(range(1, 2 * MOST_NEW + 1))
    assert len(asked) == 2 * MOST_NEW
