"""What strategy does: the catalog, signals, objectives, escalation timers, people's commands."""
