"""What the detector is told by its environment."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8102
    pause_seconds: float = 0.1
    """Records of a partition are held together for so long, unless they end a window."""
    state_mib: float = 1024
    """What the states of this process may have together; it needs as much again while a snapshot is written."""
    flink: str | None = None
    """REST address of a Flink session cluster, for the KPIs of `engine: flink`."""
    flink_gateway: str | None = None
    """Address of its SQL gateway."""
    flink_checkpoint_seconds: float = 1.0
    """Between two checkpoints of a job, with each of which its values become readable."""
    flink_parallelism: int = 1
    """Of a job, and the slots that it takes; at most the partitions of its source."""
