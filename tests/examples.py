"""How many cases a property is tried with: all in `make test`, few in `make check`, which is run all the time."""

import os

from hypothesis import settings

FEWER = int(os.environ.get("SEXTANT_FEWER_EXAMPLES") or 1)


def examples(count: int) -> settings:
    """So many, or a part of them."""
    return settings(max_examples=max(2, count // FEWER), deadline=None)
