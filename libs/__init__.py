"""What services and tools share."""
