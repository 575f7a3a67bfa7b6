"""Decisions of the archive, as functions. No I/O and no clock."""
