"""Compatibility: what a changed source breaks, for whom, and against which earlier version. Pure.

Who can read what another schema wrote is Avro's schema resolution (Avro 1.12, Schema Resolution), held in the modes of
the schema registry. Beyond it, in every mode but NONE, what is written stays readable, and means what it meant: no field
gets a type that cannot read what it ever was (a time or date is never a number), and a unit, a zone or a default that
was declared is neither changed nor taken back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from libs.common.catalog.sources import Source, SourceField

Direction = Literal["backward", "forward", "meaning"]
"""Who is broken: the new schema as a reader of the past, whoever reads by an earlier one, or what was written itself."""
Earlier = Sequence[tuple[int, Source]]
"""Versions of a source, the oldest first."""

_WIDER = {("int", "long"), ("int", "double"), ("long", "double")}
_DECLARED = ("unit", "zone", "default")


@dataclass(frozen=True)
class Break:
    """What a change breaks. `refused`: the mode does not let it in. `version`: the earlier one that it conflicts with."""

    field: str
    direction: Direction
    message: str
    rule: str
    version: int
    refused: bool


def breaks(candidate: Source, earlier: Earlier) -> Iterator[Break]:
    """Everything that the candidate breaks, also what its mode lets in. The newest earlier version comes first.

    A version whose fields are the candidate's breaks nothing: where only the mode changes, nobody is asked. One from
    when the source was no reference as it is now, or the other way, has its events on another topic.
    """
    earlier = [each for each in earlier if each[1].reference == candidate.reference]
    if not earlier or same(earlier[-1][1], candidate):
        return
    mode, last = candidate.compatibility, earlier[-1][1]
    rule, judged = f"compatibility {mode}", len(earlier) if mode.endswith("_TRANSITIVE") else 1
    backward, forward = mode.startswith(("BACKWARD", "FULL")), mode.startswith(("FORWARD", "FULL"))
    for place, (version, before) in enumerate(reversed(earlier)):
        if place < judged:
            for field, message in _unread(candidate, before):
                yield Break(field, "backward", message, rule, version, backward)
            for field, message in _unheard(candidate, before):
                yield Break(field, "forward", message, rule, version, forward)
        if place >= judged or not backward:
            for field, message in _lost(candidate, before, last):
                yield Break(field, "meaning", message, "old events stay readable", version, mode != "NONE")
        for field, message in _meaning(candidate, before, last):
            yield Break(field, "meaning", message, "declared meaning", version, mode != "NONE")


def same(before: Source, after: Source) -> bool:
    """Whether the fields are the same to whoever reads them."""
    return before.avro_schema() == after.avro_schema() and not list(_meaning(after, before, before))


def unreadable(reader: Source, writer: Source) -> Iterator[tuple[SourceField, SourceField | None]]:
    """The reader's fields that it cannot read where the writer wrote, each with the writer's, if it has it."""
    written = {field.name: field for field in writer.fields}
    for field in reader.fields:
        other = written.get(field.name)
        if other is None:
            if not field.nullable and field.default is None:
                yield field, None
        elif (other.nullable and not field.nullable) or not _reads(field, other):
            yield field, other


def _reads(field: SourceField, other: SourceField) -> bool:
    return field.type == other.type or (other.type, field.type) in _WIDER


def _unread(candidate: Source, before: Source) -> Iterator[tuple[str, str]]:
    """Events written by an earlier schema that the candidate cannot read."""
    for field, other in unreadable(candidate, before):
        if other is None:
            why = f"the new field {field.name} is required: events written before do not have it"
            yield field.name, f"{why} (make it nullable, or give it a default)"
        elif not _reads(field, other):
            yield field.name, f"{field.name} changes from {other.type} to {field.type}"
        else:
            yield field.name, f"{field.name} is no longer nullable: events written before may lack it"


def _unheard(candidate: Source, before: Source) -> Iterator[tuple[str, str]]:
    """Events written by the candidate that whoever has the earlier schema cannot read."""
    for field, other in unreadable(before, candidate):
        if other is None:
            yield field.name, f"the required field {field.name} is gone: who reads the old schema needs it"
        elif not _reads(field, other):
            yield field.name, f"{field.name} changes from {field.type} to {other.type}"
        else:
            yield field.name, f"{field.name} becomes nullable: who reads the old schema cannot read null"


def _lost(candidate: Source, before: Source, last: Source) -> Iterator[tuple[str, str]]:
    """Fields of a type that cannot read what they were, unless they have it already."""
    for field in candidate.fields:
        known, present = before.field(field.name), last.field(field.name)
        if known is None or _reads(field, known) or (present is not None and present.type == field.type):
            continue
        yield field.name, f"{field.name} changes from {known.type} to {field.type}"


def _meaning(candidate: Source, before: Source, last: Source) -> Iterator[tuple[str, str]]:
    """What was declared of a field and is another now, or no longer, unless it is so already."""
    for field in candidate.fields:
        known, present = before.field(field.name), last.field(field.name)
        for name in _DECLARED if known is not None else ():
            old, new = getattr(known, name), getattr(field, name)
            if old is None or old == new or (present not in (None, known) and getattr(present, name) == new):
                continue
            said = "is taken back" if new is None else f"becomes {new}"
            yield field.name, f"the {name} of {field.name} was {old} and {said}"


def changed(candidate: Source, before: Source) -> list[str]:
    """The names of fields that are not what they were, new and removed ones too."""
    names = dict.fromkeys(field.name for field in (*before.fields, *candidate.fields))
    return [name for name in names if before.field(name) != candidate.field(name)]
