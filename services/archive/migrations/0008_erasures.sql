-- Erasure of one subject. `body` names it and is emptied when it is gone; of its events only the places are kept, for
-- those who count them again.
CREATE TABLE erasures (
  id text PRIMARY KEY, body jsonb, ends jsonb, results jsonb, told bool NOT NULL DEFAULT false
);
CREATE TABLE erasure_answers (erasure text, store text, PRIMARY KEY (erasure, store));
CREATE TABLE erased_events (
  source text NOT NULL, partition int NOT NULL, "offset" bigint NOT NULL, event_time timestamptz NOT NULL,
  erasure text NOT NULL, PRIMARY KEY (source, partition, "offset")
);
CREATE INDEX erased_events_by_time ON erased_events (source, event_time);
CREATE VIEW read.erased_events AS SELECT source, partition, "offset", event_time, erasure FROM erased_events;
