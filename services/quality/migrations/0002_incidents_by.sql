-- Who made the last move: a person, or `quality` itself.
ALTER TABLE incidents ADD COLUMN by text NOT NULL DEFAULT 'quality';
CREATE OR REPLACE VIEW read.incidents AS SELECT * FROM incidents;
