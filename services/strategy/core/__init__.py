"""Escalation, objectives and evidence, as functions. No I/O and no clock."""
