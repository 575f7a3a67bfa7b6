"""Health and incidents, as functions. No I/O and no clock."""
