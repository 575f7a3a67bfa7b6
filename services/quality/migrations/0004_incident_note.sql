-- What the person who made the last move said of it.
ALTER TABLE incidents ADD COLUMN note text NOT NULL DEFAULT '';
CREATE OR REPLACE VIEW read.incidents AS SELECT * FROM incidents;
