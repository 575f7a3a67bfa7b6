"""The OpenAPI document, made of the routes and the models, and what FastAPI leaves out of it."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from services.gateway.api.models.common import Answer

_OF_WRITES = {
    "400": "`bad_request`, `malformed`: the body cannot be read",
    "409": "`idempotency_in_flight`, or it does not fit the present state",
}


class Api(FastAPI):
    """The application with its whole document at `openapi()`."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _restore_examples(document["components"]["schemas"])
            for methods in document["paths"].values():
                for operation in methods.values():
                    _refusals(operation)
        return self.openapi_schema or {}


def _restore_examples(schemas: dict[str, Any]) -> None:
    """FastAPI drops every null from its document, those within examples too."""
    for model in _answers(Answer):
        extra = model.model_config.get("json_schema_extra")
        if model.__name__ in schemas and isinstance(extra, dict) and "examples" in extra:
            schemas[model.__name__]["examples"] = extra["examples"]


def _answers(model: type[Answer]) -> Iterator[type[Answer]]:
    for each in model.__subclasses__():
        yield each
        yield from _answers(each)


def _refusals(operation: dict[str, Any]) -> None:
    """What may be refused, in the media type in which it is."""
    answers = operation["responses"]
    if "requestBody" in operation:
        for status, description in _OF_WRITES.items():
            answers.setdefault(status, {"description": description})
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, answer in answers.items():
        if status.startswith(("4", "5")):
            answer["content"] = problem
    operation["responses"] = dict(sorted(answers.items()))
