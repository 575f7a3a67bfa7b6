-- Orders of re-drive and their letters. What a letter holds stays in the archive: what is erased there is not driven.
CREATE TABLE redrives (
  id text PRIMARY KEY, source text NOT NULL, cause text, fix jsonb NOT NULL, dry_run bool NOT NULL, canary int,
  rate float8 NOT NULL, reason text NOT NULL, by text NOT NULL, state text NOT NULL, note text NOT NULL,
  ordered_at timestamptz NOT NULL, changed_at timestamptz NOT NULL
);
-- In the order of their arrival; `checked` while `outcome` is null: it passes, and is to be driven.
CREATE TABLE redrive_letters (
  redrive text NOT NULL REFERENCES redrives, place int NOT NULL, letter text NOT NULL, checked bool NOT NULL DEFAULT false,
  outcome text, code text, field text, rule text, driven_at timestamptz,
  PRIMARY KEY (redrive, place)
);
CREATE INDEX redrive_letters_next ON redrive_letters (redrive, checked, place) WHERE outcome IS NULL;
CREATE INDEX redrive_letters_by_letter ON redrive_letters (letter);
CREATE VIEW read.redriven AS SELECT dead_letter, receipt, redriven_at FROM redriven;
