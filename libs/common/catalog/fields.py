"""The fields that a KPI's expressions may read."""

from libs.common.catalog.catalog import Catalog
from libs.common.catalog.kpis import Kpi


def fields_of(kpi: Kpi, catalog: Catalog) -> dict[str, str]:
    """Field → type: the source's and the enriched ones, or a number per input. Without the derived ones.

    What the catalog does not have gives no fields: `check` says so.
    """
    if kpi.over:
        return dict.fromkeys(kpi.over, "double")
    source = catalog.source(kpi.source or "")
    types = dict(source.field_types) if source else {}
    for each in kpi.enrich:
        reference = catalog.source(each.reference)
        if reference is not None:
            types |= {f"{each.prefix}_{name}": kind for name, kind in reference.field_types.items()}
    return types
