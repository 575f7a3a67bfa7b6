-- What a pull keeps beside its cursor, and of which kind of pull it is the cursor.
ALTER TABLE cursors ADD COLUMN kind text NOT NULL DEFAULT 'http', ADD COLUMN state jsonb;
