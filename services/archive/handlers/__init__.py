"""Records become rows, each topic by its keeper."""
