"""Definitions of sources that somebody has in mind, judged each by itself."""

from typing import Any

from pydantic import ValidationError

from libs.common.catalog import Source
from libs.common.catalog.check import check
from libs.common.errors import Invalid

SAID = 5
"""Faults that are told at most."""


def sound(definition: dict[str, Any]) -> Source:
    """Invalid, saying where and why, if it is no consistent source. Whether its owner is known is not looked at."""
    try:
        source = Source.model_validate(definition)
    except ValidationError as error:
        raise Invalid(explained(error), code="invalid_definition") from error
    faults = [f"{each.path}: {each.message}" for each in check([source]) if each.path != "owner"]
    if faults:
        raise Invalid("; ".join(faults[:SAID]), code="invalid_definition")
    return source


def explained(error: ValidationError) -> str:
    """By path; what is wrong with the whole is of `definition`."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'definition'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()[:SAID]
    )
