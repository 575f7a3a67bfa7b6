-- Further values of the same window, by name.
ALTER TABLE observations ADD COLUMN measures jsonb NOT NULL DEFAULT '{}';
ALTER TABLE latest ADD COLUMN measures jsonb NOT NULL DEFAULT '{}';
CREATE OR REPLACE VIEW read.observations AS SELECT * FROM observations;
CREATE OR REPLACE VIEW read.latest AS SELECT * FROM latest;
