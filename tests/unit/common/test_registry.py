"""Whatever the registry holds under an id, who reads a topic says that the record cannot be read, and goes on."""

import json

import httpx
import pytest

from libs.common.registry import Codecs, NotAvro, Registry
from libs.common.settings import ServiceSettings
from libs.common.wire import prefix

GOOD = json.dumps({"type": "record", "name": "one", "fields": [{"name": "id", "type": "string"}]})
SETTINGS = ServiceSettings(kafka="", database="", redis="", registry="http://registry", port=0)


def registry(text: str) -> Registry:
    found = Registry(SETTINGS)
    answer = httpx.Response(200, json={"schema": text})
    found.http = httpx.AsyncClient(
        base_url=SETTINGS.registry, transport=httpx.MockTransport(lambda _: answer)
    )
    return found


@pytest.mark.parametrize(
    "text",
    [
        "no JSON", "[" * 100_000, '"string"', '{"type": "record", "name": "one"}',
        '{"type": "record", "name": 5, "fields": []}', '{"type": "record", "name": "one", "fields": 3}',
        '{"type": "record", "name": "one", "fields": [{"name": "a", "type": "another"}]}',
    ],
)  # fmt: skip
async def test_a_schema_that_is_none_is_left_out(text: str) -> None:
    assert await Codecs(registry(text)).of([prefix(1) + b"\0"]) == {}


async def test_a_schema_that_is_one_is_there() -> None:
    assert set(await Codecs(registry(GOOD)).of([prefix(1) + b"\0"])) == {1}


async def test_text_that_is_no_json_is_no_schema() -> None:
    with pytest.raises(NotAvro, match="schema 7"):
        await registry("no JSON").schema(7)
