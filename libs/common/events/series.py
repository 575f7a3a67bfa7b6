"""The canonical name of a series: `carrier=UA,origin=EWR`.

Dimensions are sorted by name; values are percent-encoded so that `,` and `=` may occur in them; a null
value is the bare name (`tailnum`), which the empty string (`tailnum=`) is not. No dimensions: the empty name.
"""

from collections.abc import Mapping
from urllib.parse import quote, unquote


def series_key(series: Mapping[str, str | None]) -> str:
    """The canonical name of `series`."""
    return ",".join(
        name if value is None else f"{name}={quote(value, safe=' ')}"
        for name, value in sorted(series.items())
    )


def parse_series_key(key: str) -> dict[str, str | None]:
    """The dimension values that `key` names; the inverse of `series_key`."""
    series: dict[str, str | None] = {}
    for part in key.split(",") if key else ():
        name, equals, value = part.partition("=")
        series[name] = unquote(value) if equals else None
    return series
