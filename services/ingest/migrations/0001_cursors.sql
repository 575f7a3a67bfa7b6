-- Where each pull stands, and which dead letters were driven again.
CREATE TABLE cursors (
  source text PRIMARY KEY,
  cursor text,
  polled_at timestamptz,
  error text
);
CREATE TABLE redriven (
  dead_letter text PRIMARY KEY,
  receipt text NOT NULL,
  redriven_at timestamptz NOT NULL
);
