"""Further executions of the same definitions, made another way than the engine's, to hold it to.

- `batch`  plain SQL over a table of events, by DuckDB
"""
