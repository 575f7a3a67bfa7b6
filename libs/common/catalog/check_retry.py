"""What is inconsistent between a source, what of it may be tried again, and the rules that say so. Pure."""

from collections.abc import Iterator

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.faults import Fault
from libs.common.catalog.sources import Source


def check_retry(source: Source, wanted: Catalog) -> Iterator[Fault]:
    """All faults of `source.retry`."""
    if source.retry is None:
        return
    if source.reference:
        yield "retry", "rows of a reference wait for nothing: `retry` is for streams of events", "stream"
    elif not source.key:
        yield "retry", "events wait behind those of their key: a source with `retry` needs one", "key"
    if not wanted.references_of(source.id):
        message = f"no rule says what events of {source.id} refer to: there is nothing to wait for"
        yield "retry.when", message + " (add a rule with `check: {reference: …}`)", "referential rule"
