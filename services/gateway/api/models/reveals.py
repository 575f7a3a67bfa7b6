"""What tokens and encrypted texts stand for."""

from typing import Annotated

from pydantic import Field

from services.gateway.api.models.common import Answer, example


class RevealBody(Answer):
    """Tokens, or encrypted texts, of one field of a source, and why they are asked for."""

    source: str
    field: str
    values: Annotated[list[str], Field(min_length=1, max_length=100)]
    reason: str = Field(min_length=1, max_length=2_000)
    """For the audit."""

    model_config = example(
        source="bookings", field="email", values=["tok_q5Yb0m1C3k5oYt1Jp8eY2g"], reason="complaint 2026-204"
    )


class RevealedItem(Answer):
    """One of them, and what it stands for."""

    value: str
    clear: str | None
    """As the asker may see the field; null if it is not known."""
    reason: str | None
    """Why it is not known."""


class RevealList(Answer):
    items: list[RevealedItem]

    model_config = example(
        items=[{"value": "tok_q5Yb0m1C3k5oYt1Jp8eY2g", "clear": "jane@example.org", "reason": None}]
    )
