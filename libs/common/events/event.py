"""The base of every JSON event on the bus.

Events are frozen facts. Readers ignore fields they do not know and builders may not invent any, so a
field can be added (with a default) at any time and an old example parses for ever. A breaking change is
a new class with a higher `version`, beside the old one.
"""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone")
    return moment


Moment = Annotated[datetime, AfterValidator(_aware)]
"""An instant: timezone-aware, written in RFC 3339."""

Series = dict[str, str | None]
"""The dimension values of one series; empty for a KPI without `by`."""


class Event(BaseModel):
    """A fact on a JSON topic."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    version: int = 1

    @classmethod
    def build(cls, **fields: Any) -> Self:
        """Make an event, refusing a field that the class does not have (TypeError)."""
        unknown = fields.keys() - cls.model_fields.keys()
        if unknown:
            raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        return cls(**fields)

    def encode(self) -> bytes:
        """The event as UTF-8 JSON, ready for a Kafka value."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Parse a Kafka value; pydantic.ValidationError names the field that is wrong."""
        return cls.model_validate_json(value)
