-- History as it was told: events, observations and what was said of them. Offsets move in the same transaction
-- as the rows, so a record is stored once without unique keys on the hypertables.
CREATE TABLE offsets (
  topic text, partition int, next_offset bigint NOT NULL,
  PRIMARY KEY (topic, partition)
);

CREATE TABLE events (
  source text NOT NULL, partition int NOT NULL, "offset" bigint NOT NULL,
  event_time timestamptz NOT NULL, event_id text, key text, schema_id int NOT NULL,
  receipt text, ingested_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL, trace_id text,
  data jsonb NOT NULL
);
SELECT create_hypertable('events', 'event_time', chunk_time_interval => interval '7 days', create_default_indexes => false);
CREATE INDEX events_by_place ON events (source, partition, "offset");
CREATE INDEX events_by_time ON events (source, event_time);

-- landed per minute of arrival: kept with the rows, so that the books need no scan; disposal takes none away.
CREATE TABLE landed (
  source text, minute timestamptz, rows bigint NOT NULL,
  PRIMARY KEY (source, minute)
);
CREATE TABLE ledger (
  source text NOT NULL, minute timestamptz NOT NULL, accepted bigint NOT NULL, published bigint NOT NULL,
  duplicate bigint NOT NULL, dead_lettered bigint NOT NULL,
  PRIMARY KEY (source, minute)
);
CREATE TABLE dead_letters (
  id text PRIMARY KEY, source text NOT NULL, stage text, error text, reason text, field text, value text, rule text,
  topic text, partition int, "offset" bigint, payload bytea, headers jsonb, attempts int,
  first_seen timestamptz, last_seen timestamptz, service text, receipt text, minute timestamptz,
  recorded_at timestamptz NOT NULL
);
CREATE INDEX dead_letters_by_source ON dead_letters (source, minute);

CREATE TABLE reference_rows (
  source text, key text, "offset" bigint NOT NULL, schema_id int NOT NULL, recorded_at timestamptz NOT NULL,
  data jsonb NOT NULL,
  PRIMARY KEY (source, key)
);

CREATE TABLE observations (
  kpi text NOT NULL, kpi_version int NOT NULL, series_key text NOT NULL, series jsonb NOT NULL,
  window_start timestamptz NOT NULL, window_end timestamptz NOT NULL, revision int NOT NULL, status text NOT NULL,
  value double precision, count bigint NOT NULL, watermark timestamptz, completeness double precision,
  assessed bigint NOT NULL, suspect bigint NOT NULL, worst text, offsets jsonb NOT NULL, schema_ids int[] NOT NULL,
  traceparent text, recorded_at timestamptz NOT NULL
);
SELECT create_hypertable('observations', 'window_start', chunk_time_interval => interval '14 days', create_default_indexes => false);
CREATE INDEX observations_by_series ON observations (kpi, series_key, window_start DESC, revision DESC);

CREATE TABLE latest (
  kpi text, kpi_version int, series_key text, series jsonb NOT NULL,
  window_start timestamptz NOT NULL, window_end timestamptz NOT NULL, revision int NOT NULL, status text NOT NULL,
  value double precision, count bigint NOT NULL, watermark timestamptz, completeness double precision,
  assessed bigint NOT NULL, suspect bigint NOT NULL, worst text, offsets jsonb NOT NULL, schema_ids int[] NOT NULL,
  traceparent text, recorded_at timestamptz NOT NULL,
  PRIMARY KEY (kpi, kpi_version, series_key)
);

CREATE TABLE expectations (
  kpi text NOT NULL, kpi_version int NOT NULL, series_key text NOT NULL, rule text NOT NULL,
  window_start timestamptz NOT NULL, window_end timestamptz NOT NULL,
  low double precision, middle double precision, high double precision, recorded_at timestamptz NOT NULL
);
SELECT create_hypertable('expectations', 'window_start', chunk_time_interval => interval '28 days', create_default_indexes => false);
CREATE INDEX expectations_by_series ON expectations (kpi, series_key, window_start);

CREATE TABLE late_events (
  kpi text NOT NULL, kpi_version int NOT NULL, source text NOT NULL, series_key text NOT NULL,
  window_start timestamptz NOT NULL, partition int NOT NULL, first bigint NOT NULL, last bigint NOT NULL,
  count bigint NOT NULL, recorded_at timestamptz NOT NULL
);
CREATE INDEX late_events_by_kpi ON late_events (kpi, window_start);

CREATE TABLE signal_history (
  "offset" bigint PRIMARY KEY, id text NOT NULL, change text NOT NULL, recorded_at timestamptz NOT NULL, body jsonb NOT NULL
);
CREATE INDEX signal_history_by_signal ON signal_history (id, "offset");
CREATE TABLE signals (
  id text PRIMARY KEY, "offset" bigint NOT NULL,
  kpi text NOT NULL, kpi_version int NOT NULL, series_key text NOT NULL, series jsonb NOT NULL, rule text NOT NULL,
  kind text NOT NULL, severity text NOT NULL, change text NOT NULL, verdict text NOT NULL,
  first_window timestamptz NOT NULL, last_window timestamptz NOT NULL, event_at timestamptz NOT NULL,
  windows int NOT NULL, value double precision, peak double precision, low double precision, high double precision,
  revision int NOT NULL, suspect_share double precision, reason text NOT NULL,
  detected_at timestamptz NOT NULL, recorded_at timestamptz NOT NULL
);
CREATE INDEX signals_by_time ON signals (first_window DESC);

CREATE TABLE disposals (
  id text PRIMARY KEY, source text NOT NULL, rows_before bigint NOT NULL, rows_deleted bigint NOT NULL,
  rows_after bigint NOT NULL, done_at timestamptz NOT NULL
);
