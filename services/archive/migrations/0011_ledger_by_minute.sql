-- The same figures, in a form in which a source and a stretch of minutes are looked up by index: those who watch the
-- books ask for a few minutes every few seconds.
CREATE OR REPLACE VIEW read.ledger AS
  SELECT source, minute, sum(accepted)::bigint AS accepted, sum(published)::bigint AS published,
         sum(duplicate)::bigint AS duplicate, sum(dead_lettered)::bigint AS dead_lettered, sum(landed)::bigint AS landed
  FROM (
    SELECT source, minute, accepted, published, duplicate, 0 AS dead_lettered, 0::bigint AS landed FROM ledger
    UNION ALL
    SELECT source, minute, 0, 0, 0, 0, rows FROM landed
    UNION ALL
    SELECT source, minute, 0, 0, 0, 1, 0 FROM dead_letters WHERE minute IS NOT NULL
  ) lines
  GROUP BY source, minute;
