-- Of each KPI: how far its values were compared with plain SQL over the archived events, and what came of it.
CREATE TABLE parity (
  kpi text PRIMARY KEY, kpi_version int NOT NULL, checked_to timestamptz, windows bigint NOT NULL,
  differing bigint NOT NULL, first_difference jsonb, note text NOT NULL, checked_at timestamptz NOT NULL
);
CREATE VIEW read.parity AS SELECT * FROM parity;
