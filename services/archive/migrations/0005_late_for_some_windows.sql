-- Of sliding windows an event may be too late for some, and in the others.
ALTER TABLE late_events ADD COLUMN closed_to timestamptz;
CREATE OR REPLACE VIEW read.late_events AS SELECT * FROM late_events;
-- Whoever compares values with their events asks for all series of a stretch of time.
CREATE INDEX observations_by_time ON observations (kpi, kpi_version, window_start);
