"""How a fault of a definition is told."""

from collections.abc import Iterable
from difflib import get_close_matches

Fault = tuple[str, str, str]
"""path (dotted, `signals.0.threshold`), message, rule"""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that there is not, with the one that was probably meant."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
    return f"there is no {what} {name}; {hint}"
