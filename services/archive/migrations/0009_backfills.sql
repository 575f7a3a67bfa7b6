-- What was computed again, so that who compares a value with its events knows that those that came too late count.
CREATE TABLE backfills (
  id text PRIMARY KEY, kpi text NOT NULL, kpi_version int NOT NULL, start timestamptz NOT NULL, stop timestamptz NOT NULL,
  state text NOT NULL, dry_run bool NOT NULL, reason text NOT NULL, by text NOT NULL, note text NOT NULL,
  ordered_at timestamptz NOT NULL, started_at timestamptz, ended_at timestamptz, closed_to timestamptz,
  done_to timestamptz, ends jsonb NOT NULL, events bigint NOT NULL, windows bigint NOT NULL, new bigint NOT NULL,
  revised bigint NOT NULL, retracted bigint NOT NULL, "left" bigint NOT NULL, recorded_at timestamptz NOT NULL
);
CREATE INDEX backfills_by_kpi ON backfills (kpi, kpi_version);
CREATE VIEW read.backfills AS SELECT * FROM backfills;
-- Per partition of the source: in the windows of that version that begin in [start, stop) and end by closed_to, events
-- before the offset `before` are counted since `started_at`, also those that came too late.
CREATE VIEW read.backfilled AS
  SELECT id, kpi, kpi_version, start, done_to AS stop, closed_to, started_at, place.key::int AS partition,
         place.value::bigint AS before
  FROM backfills, jsonb_each_text(ends) AS place
  WHERE NOT dry_run AND done_to IS NOT NULL AND closed_to IS NOT NULL;
