"""How many cases were generated and held, by what they are of: told at the end of a run."""

from collections import Counter

HELD: Counter[str] = Counter()
