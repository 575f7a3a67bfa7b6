"""The audit chain, as functions. No I/O and no clock."""
