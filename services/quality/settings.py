"""What quality is told by its environment."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8103
    settled_seconds: float = 60
    """After the end of a minute, when all transactions that were begun in it are decided and its books can be judged."""
