"""Series of which nothing comes any more are forgotten: what is kept per series does not grow with all there ever were.

Time is the KPI's own, the start of its newest window, so that a source that stands still forgets nothing. Looking
through all series costs as much as there are: it is done when a twentieth of the time to keep them has passed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.detector.core.signals import RuleOnKpi, SeriesState

PARTS = 20


@dataclass
class Forgetting:
    """Of the models of one partition. Rebuilt from them after a restart."""

    newest: dict[str, int] = field(default_factory=dict)
    """Rule (`kpi@version/rule`) → start (ms) of the newest window seen."""
    looked: dict[str, int] = field(default_factory=dict)
    """Rule → the newest window when its series were last looked through."""

    @classmethod
    def of(cls, models: Mapping[str, SeriesState]) -> "Forgetting":
        """`models`: by `kpi@version/rule|series_key`."""
        found = cls()
        for name, state in models.items():
            if state.last is not None:
                found.see(name.partition("|")[0], state.last)
        return found

    def see(self, rule: str, start: int) -> None:
        self.newest[rule] = max(start, self.newest.get(rule, start))

    def due(self, rules: Mapping[str, RuleOnKpi], models: Mapping[str, SeriesState]) -> list[str]:
        """The models whose series has been silent for `forget_after` of its KPI. `rules`: those in force, by name."""
        late: dict[str, int] = {}
        for name, newest in self.newest.items():
            if name not in rules:
                continue
            keep = int(rules[name].kpi.forget_after.total_seconds() * 1000)
            if newest - self.looked.get(name, newest - keep) >= keep // PARTS:
                self.looked[name] = newest
                late[name] = newest - keep
        if not late:
            return []
        return [
            name
            for name, state in models.items()
            if state.last is not None and state.last < late.get(name.partition("|")[0], state.last)
        ]
