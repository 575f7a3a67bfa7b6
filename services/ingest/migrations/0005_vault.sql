-- Texts behind tokens and keys of subjects, sealed under a secret that is not in the database; found by a keyed digest.
CREATE TABLE vault (
  scope text NOT NULL, digest bytea NOT NULL, id text NOT NULL UNIQUE, sealed bytea NOT NULL, secret text NOT NULL,
  made_at timestamptz NOT NULL,
  PRIMARY KEY (digest)
);
CREATE INDEX vault_secrets ON vault (scope, secret);
-- How far the orders of erasure are followed, and the answers to them.
CREATE TABLE offsets (
  topic text, partition int, next_offset bigint NOT NULL,
  PRIMARY KEY (topic, partition)
);
CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text NOT NULL, key bytea, value bytea NOT NULL);
