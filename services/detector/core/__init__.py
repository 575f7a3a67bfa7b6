"""The streaming engine: combine, merge, signals. No I/O and no clock."""
