"""One version of a source, compiled: what its records are held to, and how they are written."""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.catalog import KeyExpression, Source
from services.ingest.core.encoder import Encoder
from services.ingest.core.keys import Keys
from services.ingest.core.minimise import Minimiser
from services.ingest.core.records import Validator


@dataclass(frozen=True, eq=False)
class Contract:
    source: Source
    schema_id: int
    version: int
    validator: Validator
    encoder: Encoder
    minimiser: Minimiser | None
    keys: Keys | None

    @classmethod
    def of(cls, source: Source, schema_id: int, version: int, secrets: Mapping[str, bytes]) -> "Contract":
        """`secrets`: those that fields are minimised by, by name."""
        validator = Validator(source)
        minimiser = Minimiser(validator, secrets) if source.minimises else None
        encoder = Encoder(source.avro_schema(), schema_id)
        keys = Keys(source, source.key) if isinstance(source.key, KeyExpression) else None
        return cls(source, schema_id, version, validator, encoder, minimiser, keys)
