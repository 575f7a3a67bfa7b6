-- Which version of a KPI readers are served: the newest that every merge partition is ready with. Right after that the
-- former one still answers, until the new one's newest window has landed here too (15 s at most).
CREATE TABLE ready (
  kpi text, kpi_version int, partition int, partitions int NOT NULL, recorded_at timestamptz NOT NULL,
  PRIMARY KEY (kpi, kpi_version, partition)
);
CREATE VIEW read.caught_up AS
  SELECT kpi, kpi_version, max(recorded_at) AS since FROM ready GROUP BY kpi, kpi_version HAVING count(*) >= max(partitions);
CREATE VIEW read.served AS
  SELECT DISTINCT ON (kpi) kpi, kpi_version, since FROM read.caught_up c
  WHERE CASE
    WHEN since < now() - interval '15 seconds' THEN true
    ELSE coalesce((SELECT max(window_end) FROM latest l WHERE l.kpi = c.kpi AND l.kpi_version = c.kpi_version), '-infinity')
      >= coalesce((SELECT max(window_end) FROM latest l WHERE l.kpi = c.kpi AND l.kpi_version < c.kpi_version), '-infinity')
  END
  ORDER BY kpi, kpi_version DESC;
