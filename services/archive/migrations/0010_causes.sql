-- What a dead letter was tried with, and its cause: letters that one thing mends have the same.
ALTER TABLE dead_letters ADD COLUMN code text, ADD COLUMN schema_ids int[] NOT NULL DEFAULT '{}',
  ADD COLUMN code_version text NOT NULL DEFAULT '', ADD COLUMN trace_id text;
-- Places in a text that cannot be read ("byte 17", "position 3-4") are no part of a cause.
CREATE OR REPLACE VIEW read.dead_letters AS
  SELECT *, left(md5(concat_ws(E'\x1f', stage, coalesce(code, error), coalesce(field, ''),
    regexp_replace(coalesce(rule, ''), '(bytes?|position) (0x)?[0-9a-f]+(-\d+)?', '\1', 'g'))), 12) AS cause
  FROM dead_letters;
