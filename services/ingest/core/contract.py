"""One version of a source, compiled: what its records are held to, and how they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.common.catalog import KeyExpression, Source
from libs.common.encoder import Encoder
from services.ingest.core.keys import Keys
from services.ingest.core.minimise import Minimiser
from services.ingest.core.records import Bad, Good, Validator


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
        """`secrets`: of pseudonyms, by name."""
        validator = Validator(source)
        minimiser = Minimiser(validator, secrets) if source.minimises else None
        encoder = Encoder(source.avro_schema(), schema_id)
        keys = Keys(source, source.key) if isinstance(source.key, KeyExpression) else None
        return cls(source, schema_id, version, validator, encoder, minimiser, keys)

    def prepared(self, records: Sequence[Good | Bad]) -> Sequence[Good | Bad]:
        """Records that were validated, as they are written: minimised, and with keys that are worked out of that."""
        if self.minimiser is not None:
            records = self.minimiser.all(records)
        return records if self.keys is None else self.keys.all(records)
