"""The OpenAPI document, made of the routes and the models."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from services.gateway.api.models.common import Answer


class Api(FastAPI):
    """FastAPI leaves every null out of its document, those within examples too: they are put back here."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            for model in _answers(Answer):
                extra = model.model_config.get("json_schema_extra")
                if model.__name__ in schemas and isinstance(extra, dict) and "examples" in extra:
                    schemas[model.__name__]["examples"] = extra["examples"]
        return self.openapi_schema or {}


def _answers(model: type[Answer]) -> Iterator[type[Answer]]:
    for each in model.__subclasses__():
        yield each
        yield from _answers(each)
