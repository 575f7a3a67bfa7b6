CREATE TABLE offsets (
  topic text, partition int, next_offset bigint NOT NULL,
  PRIMARY KEY (topic, partition)
);
CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text NOT NULL, key bytea, value bytea NOT NULL);

-- The catalog: every version of every definition. The last one is in force; a null definition is a removal.
CREATE TABLE catalog (
  kind text, id text, version int, definition jsonb, schema_id int,
  applied_at timestamptz NOT NULL, applied_by text NOT NULL,
  PRIMARY KEY (kind, id, version)
);

-- Final windows of the KPIs that key results rest on, the present revision of each.
CREATE TABLE windows (
  kpi text, kpi_version int, series_key text, window_start timestamptz,
  window_end timestamptz NOT NULL, value double precision, count bigint NOT NULL, revision int NOT NULL,
  PRIMARY KEY (kpi, kpi_version, series_key, window_start)
);
CREATE INDEX windows_by_end ON windows (kpi, window_end);
CREATE TABLE objectives (
  id text PRIMARY KEY, title text NOT NULL, owner text NOT NULL, framework text NOT NULL, perspective text,
  progress double precision, key_results jsonb NOT NULL, as_of timestamptz, recorded_at timestamptz NOT NULL
);

CREATE TABLE escalations (
  id text PRIMARY KEY, signal text NOT NULL, team text NOT NULL, steps jsonb NOT NULL,
  step int NOT NULL, state text NOT NULL, next_at timestamptz, started_at timestamptz NOT NULL,
  acknowledged_at timestamptz, acknowledged_by text, stopped_at timestamptz
);
CREATE INDEX escalations_due ON escalations (next_at) WHERE state = 'running';
CREATE TABLE notifications (
  escalation text, step int, to_whom text NOT NULL, via text NOT NULL, outcome text NOT NULL,
  detail text NOT NULL, notified_at timestamptz NOT NULL,
  PRIMARY KEY (escalation, step)
);

CREATE TABLE playbook_runs (
  id text PRIMARY KEY, playbook text NOT NULL, title text NOT NULL, signal text NOT NULL, state text NOT NULL,
  opened_at timestamptz NOT NULL, closed_at timestamptz, steps jsonb NOT NULL
);
CREATE INDEX playbook_runs_by_signal ON playbook_runs (signal);

CREATE TABLE decisions (
  id text PRIMARY KEY, signal text, kpi text, title text NOT NULL, choice text NOT NULL, rationale text NOT NULL,
  expected text NOT NULL, as_of timestamptz NOT NULL, evidence jsonb NOT NULL, evidence_hash text NOT NULL,
  decided_by text NOT NULL, decided_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL
);
CREATE INDEX decisions_by_signal ON decisions (signal);
CREATE TABLE annotations (
  id text PRIMARY KEY, kpi text NOT NULL, series_key text, at timestamptz NOT NULL, until timestamptz,
  text text NOT NULL, author text NOT NULL, recorded_at timestamptz NOT NULL
);

-- The time stamps of a signal's way to its effect.
CREATE TABLE loop (
  signal text PRIMARY KEY, kpi text NOT NULL, series_key text NOT NULL, owner text NOT NULL, verdict text NOT NULL,
  event_at timestamptz NOT NULL, detected_at timestamptz NOT NULL, notified_at timestamptz,
  acknowledged_at timestamptz, decided_at timestamptz, dispatched_at timestamptz, executed_at timestamptz,
  effect_seen_at timestamptz
);

CREATE VIEW read.catalog AS
  SELECT kind, id, version, definition, applied_at, applied_by, definition IS NULL AS removed FROM catalog;
CREATE VIEW read.objectives AS SELECT * FROM objectives;
CREATE VIEW read.escalations AS
  SELECT id, signal, team, step, state, next_at, started_at, acknowledged_at, acknowledged_by, stopped_at FROM escalations;
CREATE VIEW read.notifications AS
  SELECT n.escalation, e.signal, n.step, n.to_whom, n.via, n.outcome, n.detail, n.notified_at
  FROM notifications n JOIN escalations e ON e.id = n.escalation;
CREATE VIEW read.playbook_runs AS SELECT * FROM playbook_runs;
CREATE VIEW read.decisions AS SELECT * FROM decisions;
CREATE VIEW read.annotations AS SELECT * FROM annotations;
CREATE VIEW read.loop AS SELECT * FROM loop;
