-- Of each partition of a source what came last, as the judge reads it; kept in the transaction that moves the offset.
CREATE TABLE partitions (
  source text, partition int, minute timestamptz, in_minute bigint NOT NULL DEFAULT 0, in_minute_before bigint NOT NULL DEFAULT 0,
  last_event_at timestamptz, last_arrival_at timestamptz, heartbeat_at timestamptz, next_offset bigint NOT NULL,
  PRIMARY KEY (source, partition)
);
-- The run of one value that each numeric field of a partition is in (core/frozen.py).
CREATE TABLE runs (
  source text, partition int, field text, value text, length bigint NOT NULL, since timestamptz,
  longest bigint NOT NULL, runs bigint NOT NULL, frozen boolean NOT NULL,
  PRIMARY KEY (source, partition, field)
);
-- What is to be expected of a source now, and what came (core/rhythm.py).
CREATE TABLE rhythm (
  source text PRIMARY KEY, minute timestamptz NOT NULL, minutes int, events bigint, expected double precision,
  low double precision, quiet_minutes int NOT NULL, allowed_minutes int, recorded_at timestamptz NOT NULL
);
CREATE VIEW read.partitions AS SELECT * FROM partitions;
CREATE VIEW read.rhythm AS SELECT * FROM rhythm;
