"""Kinds of pulls. A connector reads one round: pages from where the pull stands to the end that there is now.

What it raises ends the round. After it gave a page it goes on when the page's records have been accepted.
"""

from collections.abc import AsyncGenerator, Callable

from libs.common.catalog import Source
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors.desk import Desk
from services.ingest.handlers.connectors.files import files
from services.ingest.handlers.connectors.http import http
from services.ingest.handlers.connectors.kafka import kafka
from services.ingest.handlers.connectors.outbox import outbox
from services.ingest.handlers.connectors.sql import sql
from services.ingest.handlers.connectors.streams import sse, websocket

Connector = Callable[[Desk, Source, Standing], AsyncGenerator[Page]]

CONNECTORS: dict[str, Connector] = {
    "http": http,
    "sql": sql,
    "outbox": outbox,
    "files": files,
    "sse": sse,
    "websocket": websocket,
    "kafka": kafka,
}
"""By `kind`."""

__all__ = ["CONNECTORS", "Connector", "Desk"]
