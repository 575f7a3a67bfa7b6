"""The three loops: combine, merge, signals. Each is consume, process, produce, exactly once."""
