"""The detector's handlers over a Kafka in memory, in virtual time, with faults from a seed."""
