"""Events as bytes: the Confluent wire format around Avro, decoded a batch at a time.

A body is byte 0, the schema's id (4 bytes, big-endian), then the Avro binary encoding. Batches are decoded by
polars: the values of one schema are put into an Avro object container in memory (header, block count, block
size, values, sync marker: Avro 1.12, "Object Container Files"), about fifty times as fast as one by one.
"""

import io
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any, cast

import fastavro
import msgspec
import numpy as np
import polars as pl

from libs.common.clock import EPOCH
from libs.common.errors import BadMessage
from libs.common.varints import varint

Schema = dict[str, Any]

_MAGIC = 0
_PREFIX = struct.Struct(">bI")
_SYNC = bytes(16)
WIRE = "__wire"
_WIRE_FIELD = {"name": WIRE, "type": {"type": "fixed", "name": WIRE, "size": _PREFIX.size}}
"""The prefix as a field of its own: then whole values are the rows of a container, and none is cut."""
INDEX = "__index"
SCHEMA_ID = "__schema_id"

DTYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "string": pl.String, "int": pl.Int32, "long": pl.Int64, "double": pl.Float64, "boolean": pl.Boolean,
    "timestamp": pl.Datetime("ms", "UTC"), "date": pl.Date,
}  # fmt: skip
"""The columns that Avro gives for each field type."""
_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_FIRST_DAY, _BEHIND = (date.min - EPOCH.date()).days, (date.max - EPOCH.date()).days + 1
"""Days since 1970 on which the year 1 begins and the year 9999 is over."""
_PROMOTED = {
    "long": (pl.Int32, pl.Int64), "double": (pl.Int32, pl.Int64, pl.Float32, pl.Float64),
    "timestamp": (pl.Datetime("ms", "UTC"), pl.Datetime("us", "UTC")),
}  # fmt: skip
"""The columns of narrower types that are read as well (Avro 1.12, Schema Resolution), and times of microseconds."""


class Codec:
    """One schema, parsed once. With `reader`, records are read as that schema says (Avro 1.12, Schema Resolution):
    what was written before a field was added has its default."""

    def __init__(self, schema: Schema, reader: Schema | None = None) -> None:
        self.schema = schema
        self.parsed = fastavro.parse_schema(schema)
        self.reader = None if reader is None or reader == schema else fastavro.parse_schema(reader)
        self.head = container({**schema, "fields": wired(schema)})

    def encode(self, schema_id: int, record: Mapping[str, Any]) -> bytes:
        """A record in the wire format; ValueError or TypeError if it does not fit the schema."""
        out = io.BytesIO()
        out.write(prefix(schema_id))
        fastavro.schemaless_writer(out, self.parsed, record)
        return out.getvalue()

    def frame(self, values: Sequence[bytes], schema_id: int) -> pl.DataFrame:
        """One row per value in the wire format; fails whole if one of them is not of this schema and id."""
        return without_prefix(rows(self.head, len(values), b"".join(values)), schema_id)

    @cached_property
    def columns(self) -> Mapping[str, pl.DataType] | None:
        """Those of its records; None if some cannot be columns."""
        try:
            return pl.read_avro(io.BytesIO(self.head)).schema
        except (Exception, pl.exceptions.PanicException):
            return None

    def unfit(self, types: Mapping[str, str]) -> BadMessage | None:
        """Why its records are none of fields of these types; None if they are. Fields may lack, and be others."""
        if self.columns is None:
            return BadMessage("its schema has what no column can hold", rule="a flat schema")
        for name, kind in types.items():
            found = self.columns.get(name)
            if found is not None and found not in _PROMOTED.get(kind, (DTYPES[kind],)):
                said = f"{name} is of type {found} in its schema"
                return BadMessage(said, field=name, value=str(found), rule=kind, code="wrong_type")
        return None

    def record(self, body: bytes) -> dict[str, Any]:
        """One Avro body; BadMessage if it is not of this schema, or if bytes are left over."""
        source = io.BytesIO(body)
        try:
            record = fastavro.schemaless_reader(source, self.parsed, self.reader)
        except Exception as error:  # fastavro raises whatever its reader stumbled over
            raise BadMessage(f"the body is not of its schema: {error!r}", rule="avro") from error
        if source.read(1):
            raise BadMessage("bytes are left over after the record", rule="avro")
        if not isinstance(record, dict):
            raise BadMessage("the schema is not a record", rule="avro")
        return record


def wired(schema: Schema) -> list[Schema]:
    """The fields of a value in the wire format: `WIRE`, then those of the schema."""
    return [_WIRE_FIELD, *schema["fields"]]


def container(schema: Schema) -> bytes:
    """The head of an object container of records of this schema.

    Without the defaults of fields, which nobody needs to read what was written, and at which polars stumbles.
    """
    fields = [{name: part for name, part in field.items() if name != "default"} for field in schema["fields"]]
    head = io.BytesIO()
    fastavro.writer(head, fastavro.parse_schema({**schema, "fields": fields}), [], sync_marker=_SYNC)
    return head.getvalue()


def rows(head: bytes, count: int, body: bytes, names: list[str] | None = None) -> pl.DataFrame:
    """So many records, one after the other, as a block of a container; fails if they are not. `names`: the columns."""
    block = varint(count) + varint(len(body)) + body + _SYNC
    frame = pl.read_avro(io.BytesIO(head + block), columns=names)
    if frame.height != count:
        raise ValueError(f"{count} records gave {frame.height} rows")
    return frame


def without_prefix(frame: pl.DataFrame, schema_id: int) -> pl.DataFrame:
    """The frame without `WIRE`; ValueError if it is not that of this schema everywhere."""
    prefixes = frame.drop_in_place(WIRE)
    if (prefixes != pl.Series([prefix(schema_id)])).any():
        raise ValueError(f"not all records are of schema {schema_id}")
    return frame


def prefix(schema_id: int) -> bytes:
    """What a value in the wire format begins with."""
    return _PREFIX.pack(_MAGIC, schema_id)


def split(value: bytes | None) -> tuple[int, bytes]:
    """Schema id and Avro body; BadMessage if there is no such prefix."""
    if value is None or len(value) < _PREFIX.size or value[0] != _MAGIC:
        raise BadMessage(
            "not in the Confluent wire format: byte 0, then a schema id",
            rule="wire format",
            code="not_in_wire_format",
        )
    return _PREFIX.unpack_from(value)[1], value[_PREFIX.size :]


def record(value: bytes | None, codecs: Mapping[int, Codec]) -> dict[str, Any]:
    """One record in the wire format; BadMessage if it is none, or of a schema that is not in `codecs`."""
    schema_id, body = split(value)
    if schema_id not in codecs:
        raise BadMessage("the schema id is unknown", value=str(schema_id), rule="registered schema")
    return codecs[schema_id].record(body)


def decode(
    values: Sequence[bytes | None], codecs: Mapping[int, Codec]
) -> tuple[pl.DataFrame, list[tuple[int, BadMessage]]]:
    """All records that can be read, as one frame, and the others by index with the reason.

    The frame has the fields' columns (of several schemas side by side, null where a schema lacks one),
    `__index` (place in `values`) and `__schema_id`, in the order of `values`. `codecs` must hold every id
    that the caller could find; a record of another id is bad.
    """
    if values and (frame := _alike(values, codecs)) is not None:
        return frame, []
    groups: dict[int, tuple[list[int], list[bytes]]] = defaultdict(lambda: ([], []))
    bad: list[tuple[int, BadMessage]] = []
    for index, value in enumerate(values):
        try:
            schema_id, _ = split(value)
            if schema_id not in codecs:
                raise BadMessage("the schema id is unknown", value=str(schema_id), rule="registered schema")
            indices, same = groups[schema_id]
            indices.append(index)
            same.append(value or b"")
        except BadMessage as error:
            bad.append((index, error))
    frames = [_group(codecs[id], id, *group, bad) for id, group in groups.items()]
    if not frames:
        return pl.DataFrame(schema={INDEX: pl.UInt32, SCHEMA_ID: pl.Int64}), bad
    frame = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed").sort(INDEX)
    return frame, bad


def _alike(values: Sequence[bytes | None], codecs: Mapping[int, Codec]) -> pl.DataFrame | None:
    """What most batches are: good values of one schema; None if this is none such."""
    try:
        schema_id, _ = split(values[0])
        return placed(codecs[schema_id].frame(cast(Sequence[bytes], values), schema_id), schema_id)
    except (Exception, pl.exceptions.PanicException):  # whatever it is, it is found out one by one
        return None


def placed(frame: pl.DataFrame, schema_id: int, indices: Sequence[int] | None = None) -> pl.DataFrame:
    """With the places of the rows and their schema."""
    places = np.arange(frame.height, dtype=np.uint32) if indices is None else np.array(indices, np.uint32)
    return frame.hstack(
        [pl.Series(INDEX, places), pl.Series(SCHEMA_ID, np.full(frame.height, schema_id, np.int64))]
    )


NUL_IN_JSON = b"\\u0000"
"""How a NUL is written in a text of JSON, if there is one."""


def has_unfit(frame: pl.DataFrame, *, nul: bool = True) -> bool:
    """Whether it has values that can be read and not kept: texts with a NUL in them, which PostgreSQL cannot hold, and
    times outside the years 1 to 9999, which Python cannot. `nul`: whether there may be one."""
    columns = (column for column in frame.iter_columns() if nul or column.dtype != pl.String)
    return any(_unfit(column) is not None for column in columns)


def without_unfit(
    frame: pl.DataFrame, bad: list[tuple[int, BadMessage]]
) -> tuple[pl.DataFrame, list[tuple[int, BadMessage]]]:
    """The rows whose values can be kept; what is wrong with the others is added to `bad`, by `__index`."""
    for name in frame.columns:
        wrong = _unfit(frame[name])
        if wrong is None:
            continue
        if frame.schema[name] == pl.String:
            error = BadMessage(f"{name} has a NUL character in it", field=name, rule="no NUL")
        else:
            rule = "years 1 to 9999"
            error = BadMessage(f"{name} is outside the {rule}", field=name, rule=rule, code="not_a_time")
        bad = [*bad, *((index, error) for index in frame.filter(wrong)[INDEX])]
        frame = frame.filter(~wrong)
    return frame, bad


def _unfit(column: pl.Series) -> pl.Series | None:
    """Which of its values cannot be kept; None: all can."""
    if column.dtype == pl.String:
        if "\0" not in (column.str.join("").item() or ""):  # sooner than one by one
            return None
        return column.str.contains("\0", literal=True).fill_null(False)
    if not isinstance(column.dtype, pl.Date | pl.Datetime):
        return None
    day = _DAY[column.dtype.time_unit] if isinstance(column.dtype, pl.Datetime) else 1
    found, first, behind = column.to_physical(), _FIRST_DAY * day, _BEHIND * day
    if all(first <= each < behind for each in (found.min(), found.max()) if isinstance(each, int)):
        return None
    return ((found < first) | (found >= behind)).fill_null(False)


def decode_json(
    values: Sequence[bytes | None], types: Mapping[str, str]
) -> tuple[pl.DataFrame, list[tuple[int, BadMessage]]]:
    """As `decode`, for values that are plain JSON objects (RFC 8259) of fields of `types`.

    Timestamps are epoch milliseconds or RFC 3339, dates RFC 3339; fields that are not of `types` are passed over, those
    that lack are null. `__schema_id` is 0.
    """
    frame = ndjson(values, types)
    if frame is not None:
        return placed(frame, 0), []
    bad: list[tuple[int, BadMessage]] = []  # one bad object spoils the batch: go one by one
    good: list[int] = []
    frames = [pl.DataFrame(schema={name: DTYPES[kind] for name, kind in types.items()})]
    for index, value in enumerate(values):
        try:
            line = msgspec.json.encode(msgspec.json.decode(value or b"", type=dict[str, object]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            bad.append((index, BadMessage(f"not a JSON object: {error}", rule="json")))
            continue
        row = ndjson([line], types)
        if row is None:
            bad.append((index, BadMessage("a field is not of its type", rule="type")))
        else:
            good.append(index)
            frames.append(row)
    return placed(pl.concat(frames), 0, good), bad


def ndjson(lines: Sequence[bytes | None], types: Mapping[str, str]) -> pl.DataFrame | None:
    """The objects as a frame of the fields; None unless each line is an object whose fields are of their types."""
    times = [name for name, kind in types.items() if kind == "timestamp"]
    if not lines:
        return pl.DataFrame(schema={name: DTYPES[kind] for name, kind in types.items()})
    try:
        sample = msgspec.json.decode(lines[0] or b"", type=dict[str, object])
        schema = {
            name: pl.Int64 if kind == "timestamp" and isinstance(sample.get(name), int)
            else pl.String if kind in ("timestamp", "date") else DTYPES[kind]
            for name, kind in types.items()
        }  # fmt: skip
        text = b"\n".join(cast(Sequence[bytes], lines))  # one that is none is a TypeError
        frame = pl.read_ndjson(io.BytesIO(text), schema=schema)
        if frame.height != len(lines):
            return None
        texts = [name for name in times if schema[name] is pl.String]
        for name in times:
            if name not in texts:  # sooner than a query
                frame.replace_column(frame.get_column_index(name), frame[name].cast(DTYPES["timestamp"]))
        read = [
            *(pl.col(name).str.to_datetime(time_unit="ms", time_zone="UTC") for name in texts),
            *(pl.col(name).str.to_date() for name, kind in types.items() if kind == "date"),
        ]
        return frame.with_columns(read) if read else frame
    except (
        pl.exceptions.PolarsError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError,
    ):  # fmt: skip
        return None


def defaulted(frame: pl.DataFrame, types: Mapping[str, str], defaults: Mapping[str, Any]) -> pl.DataFrame:
    """With the defaults of fields (`Source.defaults`) in events that lack them: those written before the fields were."""
    filled: list[pl.Expr | pl.Series] = []
    for name, value in defaults.items():
        default = pl.lit(value, dtype=DTYPES[types[name]])
        if name not in frame.columns:
            filled.append(default.alias(name))
        elif frame[name].has_nulls():
            filled.append(pl.col(name).fill_null(default))
    return frame.with_columns(filled) if filled else frame


def _group(
    codec: Codec, schema_id: int, indices: list[int], values: list[bytes], bad: list[tuple[int, BadMessage]]
) -> pl.DataFrame:
    try:
        return placed(codec.frame(values, schema_id), schema_id, indices)
    except (Exception, pl.exceptions.PanicException):  # one bad value spoils the block: go one by one
        good: list[int] = []
        for place, value in enumerate(values):
            try:
                codec.record(value[_PREFIX.size :])
                good.append(place)
            except BadMessage as error:
                bad.append((indices[place], error))
    frame = codec.frame([values[place] for place in good], schema_id)
    return placed(frame, schema_id, [indices[place] for place in good])


def schema_ids(values: Sequence[bytes | None]) -> set[int]:
    """The ids that a batch speaks of; what has none is left for `decode` to report."""
    prefixes = {value[: _PREFIX.size] for value in values if value}
    return {_PREFIX.unpack(prefix)[1] for prefix in prefixes if len(prefix) == _PREFIX.size}
