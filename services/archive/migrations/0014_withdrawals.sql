-- What a re-drive had published and was undone. `body` says which events, and is emptied when they are gone; of them only
-- the places are kept, for those who count them again. The books keep them: they did land.
CREATE TABLE withdrawals (
  id text PRIMARY KEY, source text NOT NULL, redrive text NOT NULL, body jsonb,
  events bigint, first_time timestamptz, last_time timestamptz, done_at timestamptz
);
CREATE TABLE withdrawn_events (
  source text NOT NULL, partition int NOT NULL, "offset" bigint NOT NULL, event_time timestamptz NOT NULL,
  redrive text NOT NULL, withdrawn_at timestamptz NOT NULL, PRIMARY KEY (source, partition, "offset")
);
CREATE INDEX withdrawn_events_by_time ON withdrawn_events (source, event_time);
CREATE VIEW read.withdrawals AS
  SELECT id, source, redrive, events, first_time, last_time, done_at FROM withdrawals;
CREATE VIEW read.withdrawn_events AS
  SELECT source, partition, "offset", event_time, redrive, withdrawn_at FROM withdrawn_events;
