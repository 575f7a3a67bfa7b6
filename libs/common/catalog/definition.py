"""What every definition in a workspace has in common."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$", examples=["on_time_departures"])]
FieldType = Literal["string", "int", "long", "double", "boolean", "timestamp", "date"]
Classification = Literal["public", "internal", "confidential", "personal", "sensitive"]


class Definition(BaseModel):
    """Forbids what it does not know, so that a misspelt key is an error and never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Named(Definition):
    """What every file says first."""

    id: Identifier
    title: str
    description: str = ""
    owner: Identifier
    """The team that answers for it."""
