"""What all states of a process may take together. KPIs that would take more give way, and the others run on. Pure."""

from collections import Counter
from collections.abc import Iterable

from services.detector.core.engine import Engine

MIB = 1024 * 1024


def excess(engines: Iterable[Engine], limit: float) -> dict[str, str]:
    """KPIs (`id@version`) that must give way, and why: the largest first, until the rest has at most `limit` bytes."""
    sizes = Counter[str]()
    for engine in engines:
        for name, state in engine.states.items():
            sizes[name] += state.size
    total, found = sizes.total(), dict[str, str]()
    for name, size in sizes.most_common():
        if total <= limit:
            break
        found[name] = (
            f"its state has {size / MIB:,.1f} MiB, and the states of this process together more than the"
            f" {limit / MIB:,.1f} MiB that they may have (SEXTANT_STATE_MIB): give it fewer series, a shorter window or"
            " lateness, or the process more memory, and apply it anew"
        )
        total -= size
    return found
