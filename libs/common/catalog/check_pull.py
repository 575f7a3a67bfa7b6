"""What is inconsistent between a source and how it is pulled. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from libs.common.catalog.faults import Fault, unknown
from libs.common.catalog.pulls import HttpPull, Overlapping, Pull
from libs.common.catalog.sources import Source

SHORTEST = timedelta(seconds=1)


def check_pull(source: Source, pull: Pull) -> Iterator[Fault]:
    """All faults of `source.pull`."""
    if pull.every < SHORTEST:
        yield f"pull.{pull.kind}.every", "a pull asks at most once a second", "at least 1s"
    if isinstance(pull, HttpPull) and pull.overlap is not None and pull.cursor_field is not None:
        kind = source.field_types.get(pull.cursor_field)
        if kind is None:
            message = unknown("field", pull.cursor_field, source.field_types)
            yield "pull.http.cursor_field", message, "known field"
        elif kind not in ("timestamp", "int", "long"):
            message = (
                f"{pull.cursor_field} is {kind}: a cursor with an overlap is a timestamp or a whole number"
            )
            yield "pull.http.cursor_field", message, "type"
        else:
            yield from _units("pull.http.overlap", pull.overlap, times=kind == "timestamp")


def _units(path: str, overlap: Overlapping, *, times: bool) -> Iterator[Fault]:
    for name, size in (("cap", overlap.cap), ("floor", overlap.floor)):
        if isinstance(size, timedelta) != times and size != 0:
            wanted = "a time: give a duration, such as 1h" if times else "a number: give a whole number"
            yield f"{path}.{name}", f"the cursor is {wanted}", "unit"
