-- When the signal closed: what was due by then is still told, nothing later.
ALTER TABLE escalations ADD COLUMN ends_at timestamptz;
