-- Accepted events that wait for what they refer to (`retry`): in the books they are parked until they are published or
-- dead letters. Entries of that have a negative number.
ALTER TABLE ledger ADD COLUMN parked bigint NOT NULL DEFAULT 0;
CREATE OR REPLACE VIEW read.ledger AS
  SELECT source, minute, coalesce(l.accepted, 0) AS accepted, coalesce(l.published, 0) AS published,
         coalesce(l.duplicate, 0) AS duplicate, coalesce(d.rows, 0) AS dead_lettered, coalesce(n.rows, 0) AS landed,
         coalesce(l.parked, 0) AS parked
  FROM ledger l
  FULL JOIN landed n USING (source, minute)
  FULL JOIN (
    SELECT source, minute, count(*) AS rows FROM dead_letters WHERE minute IS NOT NULL GROUP BY source, minute
  ) d USING (source, minute);
CREATE OR REPLACE VIEW read.ledger_totals AS
  WITH totals AS (
    SELECT source, sum(accepted) AS accepted, sum(published) AS published, sum(duplicate) AS duplicate,
           sum(dead_lettered) AS dead_lettered, sum(landed) AS landed, sum(parked) AS parked
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
         in_flight::bigint, (accepted - landed - dead_lettered - duplicate - in_flight - parked)::bigint AS imbalance,
         parked::bigint
  FROM flying;
