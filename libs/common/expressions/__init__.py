"""The expression language of definitions: SQL, parsed by sqlglot, checked against fields, run by polars.

Scalars: literals, fields, + - * / %, comparisons, AND OR NOT, IN, BETWEEN, [I]LIKE, IS [NOT] NULL|TRUE|FALSE,
IS [NOT] DISTINCT FROM, CASE, IF, COALESCE, NULLIF, GREATEST, LEAST, CAST, ABS, SIGN, ROUND, FLOOR, CEIL, SQRT, LN, EXP,
POWER, LOWER, UPPER, TRIM, LENGTH, SUBSTRING, CONCAT, ||, EXTRACT, DATE_TRUNC. Aggregates: those of `aggregates`, each
with FILTER (WHERE …), and scalars over them. No text is ever evaluated as Python.

Semantics, the same in every execution:
- Three-valued logic; aggregates skip NULL; an aggregate of nothing is NULL, a count 0.
- What has no result is NULL, never an error: x / 0, x % 0, whole-number arithmetic beyond 64 bits (a sum counts only in
  the end, whatever its parts), the root or logarithm of what has none, a cast that does not fit.
- `/` is always a division of doubles. + - * of whole numbers are whole, of a double and any number double (IEEE 754).
- NaN and infinity are no numbers: a field, an aggregate's argument, a derived field or a value that is one is NULL.
- Text compares by code point. CONCAT, GREATEST and LEAST skip NULL as in PostgreSQL; || does not.
- Times are UTC. FIRST and LAST go by event time, then partition, then offset.

An aggregate has a partial state that merges: `partials()` makes it from events, `merge()` from states, `final()` turns it
into the value. Merging in any grouping gives the same value, sums and variances of doubles to rounding, all else exactly.
State columns have canonical names (`sum(dep_delay)`): of one name is one meaning, as long as the fields are the same, the
derived and enriched ones included.
"""

from libs.common.expressions.aggregates import AGGREGATES, OFFSET, PARTITION, TIME, Partial
from libs.common.expressions.typed import FieldTypes
from libs.common.expressions.values import Predicate, Scalar, Value, derive, derived, predicate, scalar, value

__all__ = [
    "AGGREGATES",
    "OFFSET",
    "PARTITION",
    "TIME",
    "FieldTypes",
    "Partial",
    "Predicate",
    "Scalar",
    "Value",
    "derive",
    "derived",
    "predicate",
    "scalar",
    "value",
]
