-- Windows that were not compared, by reason.
ALTER TABLE parity ADD COLUMN left_out jsonb NOT NULL DEFAULT '{}';
CREATE OR REPLACE VIEW read.parity AS SELECT * FROM parity;
