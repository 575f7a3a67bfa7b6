"""Events → KPIs → signals."""

import os

# Its one thread waits for polars: more threads for batches of this size cost CPU and win little. More processes do.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
