"""What becomes of a source's contract: what a candidate changes, what that breaks by rule, and who reads the fields."""

from dataclasses import asdict
from typing import Any

from libs.common.catalog import Catalog, Source
from libs.common.catalog.compatibility import Earlier, breaks, changed
from libs.common.catalog.readers import readers


def contract(candidate: Source, before: Source, earlier: Earlier, wanted: Catalog) -> dict[str, Any] | None:
    """`{source, compatibility, changed, breaks, readers}`; None if no record is judged otherwise than before.

    `breaks` has what the mode lets in too (`refused` says whether it does). `readers`: field → KPIs and rules of
    `wanted` that read it; of removed fields those that still do.
    """
    fields = changed(candidate, before)
    if not fields and candidate.unknown_fields == before.unknown_fields:
        return None
    return {
        "source": candidate.id,
        "compatibility": candidate.compatibility,
        "changed": fields,
        "breaks": [asdict(each) for each in breaks(candidate, earlier)],
        "readers": {
            name: [asdict(each) for each in found]
            for name, found in readers(candidate.id, _with_both(candidate, before, wanted)).items()
        },
    }


def _with_both(candidate: Source, before: Source, wanted: Catalog) -> Catalog:
    """The definitions, with the fields of before beside the new ones: what reads either of them compiles."""
    new = [field for field in candidate.fields if before.field(field.name) is None]
    both = candidate.model_copy(update={"fields": (*before.fields, *new)})
    return Catalog.of([*(each for each in wanted.definitions.values() if each != candidate), both])
