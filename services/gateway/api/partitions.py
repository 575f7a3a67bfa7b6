"""How the events of a source fall on its partitions: ingest's figures, with keys as the asker may see them."""

import asyncio
import logging

from libs.common.catalog import Source
from libs.common.skew import HotKey, Share, advice
from services.gateway.api.asking import Asker
from services.gateway.api.commands import call
from services.gateway.api.models.partitions import Partitions
from services.gateway.api.problems import Refused

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
"""The rest of a source is answered without them."""


async def partitions(asker: Asker, source: Source) -> Partitions | None:
    """None while ingest does not say."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = (await call(asker, "ingest", "GET", f"/v1/sources/{source.id}"))["partitions"]
    except (Refused, TimeoutError) as error:
        log.info("ingest does not say", extra={"fields": {"source": source.id, "error": repr(error)}})
        return None
    keys = [HotKey(asker.veil.key(source, each["key"]), each["share"]) for each in found["keys"]]
    shares = [Share(**each) for each in found["shares"]]
    said = advice(source, found["records"], shares, keys, found["distinct_keys"])
    shown = [{"key": each.key, "share": each.share} for each in keys]
    return Partitions.model_validate({**found, "keys": shown, "advice": said})
