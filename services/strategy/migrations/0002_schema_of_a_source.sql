-- Which schema a version of a source writes.
CREATE OR REPLACE VIEW read.catalog AS
  SELECT kind, id, version, definition, applied_at, applied_by, definition IS NULL AS removed, schema_id FROM catalog;
