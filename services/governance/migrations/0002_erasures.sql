-- Erasure of one subject: who ordered it, without the value; what each store answered is in the receipts.
CREATE TABLE erasures (
  id text PRIMARY KEY, source text NOT NULL, field text NOT NULL, pseudonym text NOT NULL, reason text NOT NULL,
  unclear text[] NOT NULL, by text NOT NULL, ordered_at timestamptz NOT NULL, done_at timestamptz
);
ALTER TABLE receipts ADD COLUMN erasure text, ADD COLUMN gone_by timestamptz, ADD COLUMN note text NOT NULL DEFAULT '';
CREATE INDEX receipts_by_erasure ON receipts (erasure);
CREATE OR REPLACE VIEW read.receipts AS SELECT * FROM receipts;
CREATE VIEW read.erasures AS SELECT * FROM erasures;
