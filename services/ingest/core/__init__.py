"""What is decided about a record before it is published. No I/O and no clock."""
