"""Quality rules as polars columns with three values: violated, satisfied, not assessed (null).

A rule that does not apply to an event (its `where` is not true) is satisfied by it. What cannot be judged yet
(a reference that is not loaded) is null, and null is never counted as good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from libs.common.catalog import Catalog, Rule, Source
from libs.common.compiled import Compiled
from libs.common.errors import DefinitionError
from libs.common.expressions import predicate

SEVERITIES = ("info", "warning", "critical")
"""From the mildest to the worst."""
RANKS = {name: place + 1 for place, name in enumerate(SEVERITIES)}
"""As `worst` has them; 0: none."""

References = Mapping[str, pl.Series]
"""Reference source → its keys."""


@dataclass(frozen=True)
class CompiledRule:
    """A rule of one source, ready to judge frames of its events."""

    rule: Rule
    applies: pl.Expr
    """Boolean, never null."""

    def violated(self, references: References) -> pl.Expr:
        """Boolean: true is violated, false satisfied or not applicable, null not assessed."""
        return pl.when(self.applies).then(self._judge(references)).otherwise(pl.lit(False))

    def _judge(self, references: References) -> pl.Expr:
        check = self.rule.check
        if check.range is not None:
            field = pl.col(check.range.field)
            low, high = check.range.min, check.range.max
            below = field < low if low is not None else pl.lit(False)
            above = field > high if high is not None else pl.lit(False)
            return (below | above).fill_null(False)
        if check.not_null is not None:
            return pl.col(check.not_null.field).is_null()
        if check.pattern is not None:
            text = pl.col(check.pattern.field)
            return ~text.str.contains(check.pattern.whole).fill_null(True)
        assert check.reference is not None
        keys = references.get(check.reference.in_)
        if keys is None:
            return pl.lit(None, dtype=pl.Boolean)
        field = pl.col(check.reference.field)
        known = field.is_in(keys.implode())
        return (
            pl.when(field.is_null()).then(pl.lit(check.reference.when_null == "violates")).otherwise(~known)
        )


def compile_rules(rules: Sequence[Rule], source: Source) -> list[CompiledRule]:
    """The rules of `source` among `rules`; DefinitionError if one does not fit its fields."""
    compiled = []
    for rule in rules:
        if rule.source == source.id:
            pattern = rule.check.pattern
            if pattern is not None and pattern.fault is not None:
                raise DefinitionError("check.pattern.matches", pattern.fault, "regular expression")
            applies = pl.lit(True)
            if rule.where is not None:
                applies = predicate(rule.where, source.field_types).polars().fill_null(False)
            compiled.append(CompiledRule(rule, applies))
    return compiled


def rules_by_source(catalog: Catalog, compiled: Compiled) -> dict[str, list[CompiledRule]]:
    """The rules of each source; without those that do not fit it, as is said in the log."""
    compiled_rules: dict[str, list[CompiledRule]] = {source.id: [] for source in catalog.sources}
    for rule in catalog.rules:
        source = catalog.source(rule.source)
        if source is not None:
            found = compiled.of(f"rule {rule.id}", (rule, source), partial(compile_rules, [rule], source))
            compiled_rules[source.id] += [] if isinstance(found, DefinitionError) else found
    return compiled_rules


def references_of(rules: Sequence[CompiledRule]) -> set[str]:
    """The reference sources that the rules look into."""
    return {
        compiled.rule.check.reference.in_ for compiled in rules if compiled.rule.check.reference is not None
    }


def verdicts(rules: Sequence[CompiledRule], references: References) -> list[pl.Expr]:
    """Three columns per event: `assessed` and `suspect` (booleans), `worst` (of RANKS, or 0).

    Assessed: every rule could be judged. Suspect: one that is more than information is violated. Without rules nothing is
    assessed.
    """
    if not rules:
        return [
            pl.lit(False).alias("assessed"),
            pl.lit(False).alias("suspect"),
            pl.lit(0, dtype=pl.UInt8).alias("worst"),
        ]
    judged = [(compiled, compiled.violated(references)) for compiled in rules]
    ranks = [
        pl.when(violated.fill_null(False))
        .then(pl.lit(RANKS[compiled.rule.severity], dtype=pl.UInt8))
        .otherwise(pl.lit(0, dtype=pl.UInt8))
        for compiled, violated in judged
    ]
    grave = [violated.fill_null(False) for compiled, violated in judged if compiled.rule.severity != "info"]
    return [
        pl.all_horizontal([violated.is_not_null() for _, violated in judged]).alias("assessed"),
        pl.any_horizontal([pl.lit(False), *grave]).alias("suspect"),
        pl.max_horizontal(ranks).alias("worst"),
    ]
