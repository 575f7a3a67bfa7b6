"""Sampling: some of what the texts of a source hold is looked through for personal data. What is found is said by source,
field and kind; never what it was."""

import polars as pl

from libs.common import clock, telemetry
from libs.common.catalog import Source
from libs.common.stream.stored import Connection
from services.quality.core.personal import found, some
from services.quality.handlers.incidents import observe

EVERY_SECONDS = 10.0
"""Between two samples of a source."""


class Sampler:
    """Called with every batch; takes its time between samples, so that its cost is bounded whatever comes."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}

    async def look(self, connection: Connection, source: Source, frame: pl.DataFrame) -> None:
        """Opens or updates an incident for each kind that a field holds; `rule` is `field.kind`."""
        fields = [name for name in source.sampled if name in frame.columns]
        now = clock.monotonic()
        if not fields or now < self.due.get(source.id, 0.0):
            return
        self.due[source.id] = now + EVERY_SECONDS
        at = clock.now()
        for name in fields:
            texts = some(frame[name].drop_nulls().to_list())
            for kind, count in sorted(found(texts).items()):
                telemetry.PERSONAL.labels(source.id, name, kind).inc(count)
                await observe(
                    connection, source=source.id, rule=f"{name}.{kind}", kind="personal", severity="warning",
                    owner=source.owner, seen_at=at, now=at, assessed=len(texts), violations=count,
                    summary=f"{name} holds what looks like personal data ({kind}): {count} of {len(texts)} values"
                    " that were looked through",
                )  # fmt: skip
