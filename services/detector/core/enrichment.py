"""Enrichment: events get the columns of the reference rows that have their keys."""

import polars as pl

from libs.common.expressions import TIME
from services.detector.core.definitions import Enriched

_PLACE, _SINCE, _KEY = "__place", "__since", "__key_"


def joined(events: pl.DataFrame, each: Enriched, rows: pl.DataFrame) -> pl.DataFrame:
    """The events, in their order, with the columns `<prefix>_<field>` of their rows; nulls where there is none.

    `rows`: one per key; of a reference with versions one per key and time from which it is valid, of which an event gets
    the last that is not later than its own `__time` (an as-of join). A key with a null has no row, as in SQL.
    """
    named = rows.rename({name: f"{each.prefix}_{name}" for name in rows.columns})
    on = list(each.on)
    keys = [pl.col(f"{each.prefix}_{name}") for name in each.reference.key_fields]
    by = {f"{_KEY}{name}": key.cast(events.schema[name]) for name, key in zip(on, keys, strict=True)}
    named = named.with_columns(**by).drop_nulls(list(by))
    if not each.reference.versioned:
        found = events.join(
            named, left_on=on, right_on=list(by), how="left", coalesce=False, maintain_order="left"
        )
        return found.drop(list(by))
    since = pl.col(f"{each.prefix}_{each.reference.event_time}").dt.epoch("ms").alias(_SINCE)
    found = events.with_row_index(_PLACE).sort(TIME).join_asof(
        named.with_columns(since).drop_nulls(_SINCE).sort(_SINCE),
        left_on=TIME, right_on=_SINCE, by_left=on, by_right=list(by), check_sortedness=False,
    )  # fmt: skip
    return found.sort(_PLACE).drop(_PLACE, _SINCE)
