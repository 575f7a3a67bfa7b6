"""Personal data where none is expected: what of some texts is looked through, and what is found in it. Pure."""

from collections import Counter
from collections.abc import Sequence

from libs.common.recognisers import findings

VALUES = 100
CHARACTERS = 100_000
"""Of a field, looked through at once."""


def some(texts: Sequence[str]) -> list[str]:
    """At most VALUES of them, evenly spread, and CHARACTERS in all; of one that is too long its beginning."""
    chosen, room = [], CHARACTERS
    for text in texts[:: -(-len(texts) // VALUES) or 1]:
        chosen.append(text[:room])
        room -= len(chosen[-1])
        if not room:
            break
    return chosen


def found(texts: Sequence[str]) -> Counter[str]:
    """Kind → in how many of the texts it is found."""
    return Counter(kind for text in texts for kind in {kind for _, _, kind in findings(text)})
