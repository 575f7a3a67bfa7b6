"""What governance is told by its environment."""

from pathlib import Path

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8105
    anchors: Path = Path(".local/anchors")
    """Folder of the chain's anchored heads: not in the database that holds the chain."""
    anchor_seconds: float = 60.0
    retention_seconds: float = 3600.0
    """Between two runs of the retention job."""
