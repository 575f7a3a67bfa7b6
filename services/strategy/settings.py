"""What strategy is told by its environment."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8106
    webhook_timeout: float = 5.0
    """Seconds that a webhook has to answer."""
    webhook_tries: int = 3
