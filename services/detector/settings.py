"""What the detector is told by its environment."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8102
    pause_seconds: float = 0.1
    """Least time between two batches of a partition: partials are the fewer, the larger the batches."""
