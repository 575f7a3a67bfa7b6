"""What quality does: judge events, keep incidents, compute health."""
