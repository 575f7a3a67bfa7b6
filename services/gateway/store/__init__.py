"""What the gateway reads and keeps: SQL over the views of schema `read`, and Redis."""
