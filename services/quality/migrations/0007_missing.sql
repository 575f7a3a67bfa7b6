-- Of a ledger incident: the first of the records that it is about.
ALTER TABLE incidents ADD COLUMN missing jsonb NOT NULL DEFAULT '[]';
CREATE OR REPLACE VIEW read.incidents AS SELECT * FROM incidents;
