"""What the detector is told by its environment."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8102
    pause_seconds: float = 0.2
    """Least time between two batches of a partition: partials are the fewer, the larger the batches."""
    provisional_seconds: float = 1.0
    """Least time between two provisional values of a window."""
