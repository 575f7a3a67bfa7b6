-- What is erased with its subject stays in the books. A dead letter is counted as one, by its id alone; a parked event as
-- erased, for it never was anything else. (Of letters that were erased before this nothing is known: their minutes stay
-- short of them.)
CREATE TABLE erased_letters (
  id text PRIMARY KEY, source text NOT NULL, minute timestamptz, erasure text NOT NULL
);
CREATE INDEX erased_letters_by_minute ON erased_letters (source, minute);
CREATE VIEW read.erased_letters AS SELECT id, source, minute, erasure FROM erased_letters;
ALTER TABLE ledger ADD COLUMN erased bigint NOT NULL DEFAULT 0;
CREATE OR REPLACE VIEW read.ledger AS
  SELECT source, minute, sum(accepted)::bigint AS accepted, sum(published)::bigint AS published,
         sum(duplicate)::bigint AS duplicate, sum(dead_lettered)::bigint AS dead_lettered, sum(landed)::bigint AS landed,
         sum(parked)::bigint AS parked, sum(erased)::bigint AS erased
  FROM (
    SELECT source, minute, accepted, published, duplicate, 0 AS dead_lettered, 0::bigint AS landed, parked, erased
    FROM ledger
    UNION ALL
    SELECT source, minute, 0, 0, 0, 0, rows, 0, 0 FROM landed
    UNION ALL
    SELECT source, minute, 0, 0, 0, 1, 0, 0, 0 FROM dead_letters WHERE minute IS NOT NULL
    UNION ALL
    SELECT source, minute, 0, 0, 0, 1, 0, 0, 0 FROM erased_letters WHERE minute IS NOT NULL
  ) lines
  GROUP BY source, minute;
CREATE OR REPLACE VIEW read.ledger_totals AS
  WITH totals AS (
    SELECT source, sum(accepted) AS accepted, sum(published) AS published, sum(duplicate) AS duplicate,
           sum(dead_lettered) AS dead_lettered, sum(landed) AS landed, sum(parked) AS parked, sum(erased) AS erased
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
         in_flight::bigint,
         (accepted - landed - dead_lettered - duplicate - in_flight - parked - erased)::bigint AS imbalance,
         parked::bigint, erased::bigint
  FROM flying;
