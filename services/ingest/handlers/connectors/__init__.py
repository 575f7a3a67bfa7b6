"""Kinds of pulls. A connector reads one round: pages from where the pull stands to the end that there is now.

What it raises ends the round. After it gave a page it goes on when the page's records have been accepted.
"""

from collections.abc import AsyncIterator, Callable

from libs.common.catalog import Source
from services.ingest.core.pages import Page, Standing
from services.ingest.handlers.connectors.desk import Desk
from services.ingest.handlers.connectors.http import http

Connector = Callable[[Desk, Source, Standing], AsyncIterator[Page]]

CONNECTORS: dict[str, Connector] = {"http": http}
"""By `kind`."""

__all__ = ["CONNECTORS", "Connector", "Desk"]
