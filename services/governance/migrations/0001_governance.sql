CREATE TABLE offsets (
  topic text, partition int, next_offset bigint NOT NULL,
  PRIMARY KEY (topic, partition)
);
CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text NOT NULL, key bytea, value bytea NOT NULL);

-- The audit chain: append-only. hash = sha256(previous hash, canonical JSON of the entry).
CREATE TABLE audit (
  seq bigint PRIMARY KEY, id text NOT NULL UNIQUE, entry jsonb NOT NULL, canonical text NOT NULL,
  previous_hash text NOT NULL, hash text NOT NULL, recorded_at timestamptz NOT NULL
);
CREATE INDEX audit_by_time ON audit ((entry->>'at'));
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE receipts (
  id text PRIMARY KEY, policy text NOT NULL, store text NOT NULL, source text NOT NULL, before timestamptz NOT NULL,
  rows_before bigint, rows_deleted bigint, rows_after bigint, state text NOT NULL, by text NOT NULL,
  ordered_at timestamptz NOT NULL, done_at timestamptz
);

CREATE VIEW read.audit AS
  SELECT seq, id, (entry->>'at')::timestamptz AS at, entry->>'actor' AS actor,
         ARRAY(SELECT jsonb_array_elements_text(entry->'roles')) AS roles,
         entry->>'action' AS action, entry->>'resource' AS resource, entry->>'outcome' AS outcome,
         ARRAY(SELECT jsonb_array_elements_text(entry->'classifications')) AS classifications,
         ARRAY(SELECT jsonb_array_elements_text(entry->'masked')) AS masked,
         entry->'details' AS details, entry->>'trace_id' AS trace_id, previous_hash, hash
  FROM audit;
CREATE VIEW read.receipts AS SELECT * FROM receipts;
