"""What moves records: the writers, the pulls, the re-drive."""
