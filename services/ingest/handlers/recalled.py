"""What the topics say was taken in before: ids and receipts, by the headers of what was published."""

from collections.abc import Hashable, Iterable, Iterator

from libs.common.batches import Record


def published(records: Iterable[Record]) -> Iterator[tuple[tuple[str, int], Iterable[Hashable]]]:
    """(receipt, arrival in ms) and ids, of events and deliveries, of records on a source's topic, by their headers."""
    here: tuple[str, int] | None = None
    ids: dict[Hashable, None] = {}
    for record in records:
        headers = dict(record.headers)
        if "sx-receipt" not in headers:
            continue
        receipt = headers["sx-receipt"].decode()
        at = int(headers.get("sx-ingested", record.timestamp))
        if here != (receipt, at):
            if here is not None:
                yield here, ids
            here, ids = (receipt, at), {}
        if "ce_id" in headers:
            ids[headers["ce_id"].decode()] = None
        if "sx-delivery" in headers:
            ids["delivery", headers["sx-delivery"].decode()] = None
    if here is not None:
        yield here, ids


def lettered(records: Iterable[Record], source: str) -> Iterator[tuple[str, int]]:
    """(receipt, arrival in ms) of the dead letters that ingest wrote of a source, one after another of a body once."""
    last = ""
    for record in records:
        receipt = dict(record.headers).get("sx-receipt", b"").decode()
        if receipt and receipt != last and record.key == source.encode():
            yield receipt, record.timestamp
            last = receipt
