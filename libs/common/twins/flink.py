"""The Flink twin: KPIs as Flink SQL, from the same topics and registry to the same observations.

`script` gives the statements of one job: the tables of its sources, a view per KPI, the sink, and one INSERT. What Flink
cannot express is refused by `libs.common.catalog.engines`. Where the job differs from the embedded engine:

- A window is published once, final, when its lateness has passed: the watermark runs behind by the lateness. There are
  no values in progress and no revisions. `watermark` is the least that it can be at that moment, `completeness` is empty.
- Referential rules are not judged: the events of a source that has one count as not assessed.
- A record that cannot be decoded, or whose clock runs ahead, is passed over; the archive dead-letters the former.

Watermarks are Flink's: an event at W has gone by when ours is W + 1 ms. Session windows of Flink merge where they touch,
ours where they overlap: its gap is one millisecond shorter.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from libs.common.catalog import Catalog, Kpi, Rule, Source
from libs.common.catalog.engines import refusals, tumbling_of
from libs.common.catalog.fields import fields_of
from libs.common.errors import DefinitionError
from libs.common.expressions import OFFSET, PARTITION, TIME, derived, predicate, value
from libs.common.expressions.dialects import WRITERS
from libs.common.rules import SEVERITIES
from libs.common.topics import EVENTS, OBSERVATIONS
from libs.common.twins.flink_tables import Place, columns_of, interval, sink

SETTINGS = {
    "execution.runtime-mode": "streaming",
    "table.local-time-zone": "UTC",
    "table.exec.sink.not-null-enforcer": "error",
}
"""What the session that runs a script must be set to."""

_WRITER = WRITERS["flink"]
_NAME = _WRITER.name
QUALITY = ("__assessed", "__suspect", "__worst")


def script(kpis: Sequence[tuple[Kpi, int]], catalog: Catalog, place: Place, job: str) -> list[str]:
    """The statements of the job that publishes these KPIs (with their versions), in order; the INSERT is the last.

    `job` names its consumer group and its transactions. DefinitionError if one of them cannot be expressed.
    """
    writer = _Script(catalog, place, job)
    selects = [writer.observations(kpi, version) for kpi, version in kpis]
    return [
        "LOAD MODULE sextant",
        *writer.statements,
        sink(place, job),
        f"INSERT INTO {_NAME(OBSERVATIONS.name)} " + " UNION ALL ".join(selects),
    ]


class _Script:
    """Collects the tables and views that the selects need; each once."""

    def __init__(self, catalog: Catalog, place: Place, job: str) -> None:
        self.catalog, self.place, self.job = catalog, place, job
        self.statements: list[str] = []
        self.names: set[str] = set()

    def _create(self, kind: str, name: str, body: str) -> str:
        if name not in self.names:
            self.names.add(name)
            self.statements.append(f"CREATE TEMPORARY {kind} {_NAME(name)} {body}")
        return name

    # --- sources -----------------------------------------------------------------------------------------

    def source(self, source: Source, lateness: timedelta) -> str:
        """The table of a source whose watermark runs behind by `lateness` beside the source's own delay."""
        name = f"{source.id} behind {_ms(lateness)}"
        marks = (
            f"CASE WHEN `__declared` IS NOT NULL THEN `__declared` - {interval(_ms(lateness) + 1)}"
            f" WHEN `__ahead` IS NOT TRUE THEN `{TIME}` - {interval(_ms(lateness + source.watermark.delay) + 1)} END"
        )
        columns = [*columns_of(source), f"WATERMARK FOR `{TIME}` AS {marks}"]
        topic = self.place.prefix + EVENTS.of(source.id)
        idle = {"scan.watermark.idle-timeout": f"{_ms(source.watermark.idle)} ms"}
        options = self.place.source_options(topic, source, self.job) | idle
        return self._create("TABLE", name, f"({', '.join(columns)}) {self.place.written(options)}")

    def chosen(self, kpi: Kpi, source: Source) -> str:
        """The view of the events that count, with derived fields and what the quality rules say of them."""
        types = dict(fields_of(kpi, self.catalog))
        table = _NAME(self.source(source, kpi.lateness))
        fields = [self._field(source, name) for name in source.field_types]
        own = [f"`{each}`" for each in (TIME, PARTITION, OFFSET, "__ids")]
        query = (
            f"SELECT {', '.join([*fields, *own])} FROM {table}"
            f" WHERE `__declared` IS NULL AND `{TIME}` IS NOT NULL AND `__ahead` IS NOT TRUE"
        )
        query = f"SELECT *, {', '.join(self._quality(source))} FROM ({query})"
        for name, text in kpi.let.items():
            field = derived(text, types)
            query = f"SELECT *, {field.sql('flink')} AS {_NAME(name)} FROM ({query})"
            types[name] = field.type
        if kpi.where is not None:
            query = f"SELECT * FROM ({query}) WHERE {predicate(kpi.where, types).sql('flink')}"
        return self._create("VIEW", f"chosen for {kpi.id}", f"AS {query}")

    def _field(self, source: Source, name: str) -> str:
        if source.format == "json" and source.field_types[name] == "timestamp":
            return f"sx_moment({_NAME(name)}) AS {_NAME(name)}"
        default = source.defaults.get(name)
        return (
            _NAME(name)
            if default is None
            else f"COALESCE({_NAME(name)}, {_constant(default)}) AS {_NAME(name)}"
        )

    def _quality(self, source: Source) -> list[str]:
        """1 or 0 of each event: all rules judged, one of them broken; and the worst of the broken ones."""
        rules = [rule for rule in self.catalog.rules if rule.source == source.id]
        referential = any(rule.check.reference is not None for rule in rules)
        broken = [
            (SEVERITIES.index(rule.severity) + 1, _broken(rule, source))
            for rule in rules
            if rule.check.reference is None
        ]
        worst = [f"WHEN {test} THEN {rank}" for rank, test in sorted(broken, key=lambda each: -each[0])]
        rank = f"CASE {' '.join(worst)} ELSE 0 END" if worst else "0"
        assessed = "1" if rules and not referential else "0"
        suspect = f"CASE WHEN {' OR '.join(test for _, test in broken)} THEN 1 ELSE 0 END" if broken else "0"
        return [
            f"{text} AS {_NAME(name)}" for name, text in zip(QUALITY, (assessed, suspect, rank), strict=True)
        ]

    # --- windows -----------------------------------------------------------------------------------------

    def windowed(self, kpi: Kpi) -> str:
        """One row per window and series: the dimensions as text, `w0`, `w1`, `value`, the measures as
        `measure:<name>`, `__count`, the quality, `__offsets`, `__ids`, and the row time `window_time`."""
        problem = next(refusals(kpi, self.catalog), None)
        if problem is not None:
            raise DefinitionError(*problem)
        table, types = self._input(kpi)
        window = f"TABLE({_table_function(kpi, table)})"
        names = [_NAME(name) for name in kpi.by]
        values = [f"{value(kpi.value, types).sql('flink')} AS `value`"]
        for name, text in kpi.measures.items():
            values.append(f"{value(text, types).sql('flink')} AS {_NAME(f'measure:{name}')}")
        if kpi.over:
            counts = ["SUM(`__count`) AS `__count`", *(f"SUM(`{each}`) AS `{each}`" for each in QUALITY[:2])]
            counts += ["sx_offsets(CAST(NULL AS INT), CAST(NULL AS BIGINT)) AS `__offsets`"]
        else:
            counts = ["COUNT(*) AS `__count`", *(f"SUM(`{each}`) AS `{each}`" for each in QUALITY[:2])]
            counts += [f"sx_offsets(`{PARTITION}`, `{OFFSET}`) AS `__offsets`"]
        counts += ["MAX(`__worst`) AS `__worst`", "sx_distinct(`__ids`) AS `__ids`"]
        texts = [f"{_text(types.get(name, 'string'), _NAME(name))} AS {_NAME(name)}" for name in kpi.by]
        w0, w1 = _bounds(kpi)
        bounds = [f"{w0} AS `w0`", f"{w1} AS `w1`", "window_time"]
        groups = ", ".join([*names, "window_start", "window_end", "window_time"])
        return f"SELECT {', '.join([*texts, *bounds, *values, *counts])} FROM {window} GROUP BY {groups}"

    def _input(self, kpi: Kpi) -> tuple[str, dict[str, str]]:
        if kpi.over:
            return self._members(kpi), dict.fromkeys(kpi.over, "double")
        source = self.catalog.source(kpi.source or "")
        if source is None:
            raise DefinitionError("source", f"there is no source {kpi.source}", "known source")
        types = dict(fields_of(kpi, self.catalog))
        table = self.chosen(kpi, source)
        for name, text in kpi.let.items():
            types[name] = derived(text, types).type
        return table, types

    def _members(self, kpi: Kpi) -> str:
        """The view of the inputs' values below each other: each in the column of its name, NULL in the others'."""
        parts = []
        for name, id in kpi.over.items():
            found = self.catalog.kpi(id)
            if found is None:
                raise DefinitionError("over", f"there is no KPI {id}", "known KPI")
            inner = self._create("VIEW", f"windows of {id}", f"AS {self.windowed(found)}")
            columns = [
                f"{_finite('`value`') if each == name else 'CAST(NULL AS DOUBLE)'} AS {_NAME(each)}"
                for each in kpi.over
            ]
            names = [_NAME(each) for each in kpi.by]
            own = ["`__count`", *(f"`{each}`" for each in QUALITY), "`__ids`"]
            time = f"`window_time` AS `{TIME}`"
            parts.append(f"SELECT {', '.join([*names, time, *columns, *own])} FROM {_NAME(inner)}")
        return self._create("VIEW", f"inputs of {kpi.id}", f"AS {' UNION ALL '.join(parts)}")

    # --- observations ------------------------------------------------------------------------------------

    def observations(self, kpi: Kpi, version: int) -> str:
        """The rows of the sink, in the order of its columns."""
        late = interval(_ms(kpi.lateness))
        key = _series_key(kpi.by)
        dimensions = "".join(f", {_NAME(name)}" for name in kpi.by)
        measures = "".join(f", {_finite(_NAME(f'measure:{name}'))}" for name in kpi.measures)
        ranks = " ".join(f"WHEN {place + 1} THEN '{name}'" for place, name in enumerate(SEVERITIES))
        columns = [
            f"'{kpi.id}|' || {key}", "1", f"'{kpi.id}'", str(version),
            f"sx_series('{','.join(kpi.by)}'{dimensions})", key, "`w0`", "`w1`", _finite("`value`"), "`__count`", "1",
            "'final'", f"`w1` + {late}", "CAST(NULL AS DOUBLE)", "CAST(`__assessed` AS BIGINT)",
            "CAST(`__suspect` AS BIGINT)", f"CASE `__worst` {ranks} END", "`__offsets`", "`__ids`",
            "CAST(CURRENT_TIMESTAMP AS TIMESTAMP(3))", "CAST(NULL AS STRING)",
            f"sx_measures('{','.join(kpi.measures)}'{measures})",
        ]  # fmt: skip
        return f"SELECT {', '.join(columns)} FROM ({self.windowed(kpi)})"


def _broken(rule: Rule, source: Source) -> str:
    """A condition, never unknown: the rule applies to the event and is violated (libs.common.rules)."""
    check, tests = rule.check, list[str]()
    if check.range is not None:
        field = _NAME(check.range.field)
        for limit, operator in ((check.range.min, "<"), (check.range.max, ">")):
            if limit is not None:
                tests.append(f"CAST({field} AS DOUBLE) {operator} CAST('{limit!r}' AS DOUBLE)")
    elif check.not_null is not None:
        tests.append(f"{_NAME(check.not_null.field)} IS NULL")
    elif check.pattern is not None:
        tests.append(f"NOT sx_matches({_NAME(check.pattern.field)}, {_literal(check.pattern.matches)})")
    test = f"({' OR '.join(tests) or 'FALSE'}) IS TRUE"
    if rule.where is not None:
        test = f"{test} AND ({predicate(rule.where, source.field_types).sql('flink')}) IS TRUE"
    return f"({test})"


def _table_function(kpi: Kpi, table: str) -> str:
    """The windows as a function of `table` (Flink: Windowing table-valued functions)."""
    window, of = kpi.window, f"TABLE {_NAME(table)}"
    regular = tumbling_of(window)
    offset = f", {interval(_ms(regular[1]))}" if regular is not None and regular[1] else ""
    if kpi.over:  # a window of an input is one row, within one step: of sliding windows the last of its own
        step = window.every if regular is None else regular[0]
        offset = f", {interval(_ms(window.offset))}" if regular is None and window.offset else offset
        assert step is not None
        return f"TUMBLE({of}, DESCRIPTOR(`{TIME}`), {interval(_ms(step))}{offset})"
    if regular is not None:
        return f"TUMBLE({of}, DESCRIPTOR(`{TIME}`), {interval(_ms(regular[0]))}{offset})"
    if window.session is not None:
        series = f" PARTITION BY ({', '.join(map(_NAME, kpi.by))})" if kpi.by else ""
        return f"SESSION({of}{series}, DESCRIPTOR(`{TIME}`), {interval(_ms(window.session) - 1)})"
    assert window.sliding is not None
    assert window.every is not None
    offset = f", {interval(_ms(window.offset))}" if window.offset else ""
    lengths = f"{interval(_ms(window.every))}, {interval(_ms(window.sliding))}"
    return f"HOP({of}, DESCRIPTOR(`{TIME}`), {lengths}{offset})"


def _bounds(kpi: Kpi) -> tuple[str, str]:
    if kpi.window.session is not None:
        return "window_start", f"window_end + {interval(1)}"
    if kpi.over and kpi.window.sliding is not None:
        return f"window_end - {interval(_ms(kpi.window.sliding))}", "window_end"
    return "window_start", "window_end"


def _finite(number: str) -> str:
    return f"sx_finite(CAST({number} AS DOUBLE))"


def _text(kind: str, name: str) -> str:
    """A dimension as text: Flink writes booleans in capitals."""
    text = f"CAST({name} AS STRING)"
    return f"LOWER({text})" if kind == "boolean" else text


def _series_key(by: Sequence[str]) -> str:
    """The canonical name of the series (libs.common.events.series)."""
    parts = [f"COALESCE('{name}=' || sx_encode({_NAME(name)}), '{name}')" for name in sorted(by)]
    return " || ',' || ".join(parts) or "''"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _constant(value: object) -> str:
    """A field's default, as `Source.defaults` has it."""
    match value:
        case datetime():
            return f"TIMESTAMP '{value.replace(tzinfo=None).isoformat(' ', 'milliseconds')}'"
        case date():
            return f"DATE '{value}'"
        case str():
            return _literal(value)
        case bool():
            return str(value).upper()
        case float():
            return f"CAST({value!r} AS DOUBLE)"
        case _:
            return str(value)


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
