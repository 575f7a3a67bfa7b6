-- What others may read.
CREATE VIEW read.events AS
  SELECT source, partition, "offset", event_time, event_id, key, schema_id, receipt, ingested_at, recorded_at, trace_id, data
  FROM events;
CREATE VIEW read.reference_rows AS SELECT source, key, "offset", schema_id, recorded_at, data FROM reference_rows;
CREATE VIEW read.dead_letters AS SELECT * FROM dead_letters;

CREATE VIEW read.ledger AS
  SELECT source, minute, coalesce(l.accepted, 0) AS accepted, coalesce(l.published, 0) AS published,
         coalesce(l.duplicate, 0) AS duplicate, coalesce(d.rows, 0) AS dead_lettered, coalesce(n.rows, 0) AS landed
  FROM ledger l
  FULL JOIN landed n USING (source, minute)
  FULL JOIN (
    SELECT source, minute, count(*) AS rows FROM dead_letters WHERE minute IS NOT NULL GROUP BY source, minute
  ) d USING (source, minute);

-- In flight is what ingest published and is not stored yet; it is 0 once the archive has read the topic to its end,
-- and what is then missing shows as imbalance. How far the topic goes is noted by the archive as it reads (`ends`).
CREATE TABLE ends (topic text, partition int, "end" bigint NOT NULL, PRIMARY KEY (topic, partition));
CREATE VIEW read.ledger_totals AS
  WITH totals AS (
    SELECT source, sum(accepted) AS accepted, sum(published) AS published, sum(duplicate) AS duplicate,
           sum(dead_lettered) AS dead_lettered, sum(landed) AS landed
    FROM read.ledger GROUP BY source
  ), behind AS (
    SELECT split_part(o.topic, '.', 2) AS source, bool_or(o.next_offset < e."end") AS behind
    FROM offsets o JOIN ends e USING (topic, partition)
    WHERE o.topic LIKE 'events.%' OR o.topic LIKE 'reference.%'
    GROUP BY 1
  ), flying AS (
    SELECT t.*, CASE WHEN coalesce(b.behind, true) THEN greatest(t.published - t.landed, 0) ELSE 0 END AS in_flight
    FROM totals t LEFT JOIN behind b USING (source)
  )
  SELECT source, accepted::bigint, published::bigint, duplicate::bigint, dead_lettered::bigint, landed::bigint,
         in_flight::bigint, (accepted - landed - dead_lettered - duplicate - in_flight)::bigint AS imbalance
  FROM flying;

CREATE VIEW read.observations AS SELECT * FROM observations;
CREATE VIEW read.latest AS SELECT * FROM latest;
CREATE VIEW read.expectations AS SELECT * FROM expectations;
CREATE VIEW read.late_events AS SELECT * FROM late_events;
CREATE VIEW read.signals AS
  SELECT id, kpi, kpi_version, series_key, series, rule, kind, severity, change, verdict, first_window, last_window,
         event_at, windows, value, peak, low, high, revision, suspect_share, reason, detected_at, recorded_at
  FROM signals;
CREATE VIEW read.signal_history AS
  SELECT id, "offset", body->>'kpi' AS kpi, (body->>'kpi_version')::int AS kpi_version, body->>'series_key' AS series_key,
         body->'series' AS series, body->>'rule' AS rule, body->>'kind' AS kind, body->>'severity' AS severity, change,
         body->>'verdict' AS verdict, (body->>'first_window')::timestamptz AS first_window,
         (body->>'last_window')::timestamptz AS last_window, (body->>'event_at')::timestamptz AS event_at,
         (body->>'windows')::int AS windows, (body->>'value')::float8 AS value, (body->>'peak')::float8 AS peak,
         (body->>'low')::float8 AS low, (body->>'high')::float8 AS high, (body->>'revision')::int AS revision,
         (body->>'suspect_share')::float8 AS suspect_share, body->>'reason' AS reason,
         (body->>'detected_at')::timestamptz AS detected_at, recorded_at
  FROM signal_history;
