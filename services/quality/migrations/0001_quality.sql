CREATE TABLE offsets (
  topic text, partition int, next_offset bigint NOT NULL,
  PRIMARY KEY (topic, partition)
);
CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text NOT NULL, key bytea, value bytea NOT NULL);

-- Verdicts per rule and event-time hour. A changed rule counts anew under its next version.
CREATE TABLE rule_results (
  rule text, version int, source text NOT NULL, bucket timestamptz,
  assessed bigint NOT NULL, violations bigint NOT NULL,
  PRIMARY KEY (rule, version, bucket)
);
CREATE TABLE rules_in_force (rule text PRIMARY KEY, version int NOT NULL);

-- Per source and event-time hour: events, those on which every rule could be judged, and the weight of those that
-- break none (see core/health.py).
CREATE TABLE source_hours (
  source text, bucket timestamptz, events bigint NOT NULL, assessed bigint NOT NULL, good double precision NOT NULL,
  PRIMARY KEY (source, bucket)
);
CREATE TABLE arrivals (source text PRIMARY KEY, last_event_at timestamptz NOT NULL, last_arrival_at timestamptz NOT NULL);

CREATE TABLE incidents (
  id text PRIMARY KEY, source text NOT NULL, rule text, kind text NOT NULL, severity text NOT NULL, state text NOT NULL,
  owner text NOT NULL, assignee text, cause text, violations bigint NOT NULL, assessed bigint NOT NULL,
  opened_at timestamptz NOT NULL, last_seen_at timestamptz NOT NULL, resolved_at timestamptz, summary text NOT NULL,
  recorded_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX one_open_incident ON incidents (source, kind, coalesce(rule, '')) WHERE state <> 'resolved';

CREATE TABLE health (
  source text PRIMARY KEY, score double precision, assessed_share double precision NOT NULL, worst text, fresh boolean,
  last_event_at timestamptz, last_arrival_at timestamptz, events bigint NOT NULL, recorded_at timestamptz NOT NULL
);

CREATE VIEW read.rule_results AS
  SELECT r.rule, r.source, r.bucket, r.assessed, r.violations
  FROM rule_results r JOIN rules_in_force f ON f.rule = r.rule AND f.version = r.version;
CREATE VIEW read.incidents AS SELECT * FROM incidents;
CREATE VIEW read.health AS SELECT * FROM health;
