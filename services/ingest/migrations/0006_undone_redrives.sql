-- Who has undone a re-drive. Of its letters those whose events were taken back have the outcome `undone`.
ALTER TABLE redrives ADD COLUMN undone_by text;
