"""What ingest is told by its environment."""

from libs.common.settings import ServiceSettings


class Settings(ServiceSettings):
    port: int = 8101
    max_body: int = 16 * 1024 * 1024
    """Bytes of one request."""
    max_records: int = 50_000
    """Records of one request."""
    max_queued: int = 200_000
    """Records of one source that wait to be published; beyond it requests are answered 503."""
    dedup_window: int = 5_000_000
    """Ids remembered per source."""
