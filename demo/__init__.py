"""The demonstration: real data, its replay, its truth by plain SQL, and the proof that the two agree."""
