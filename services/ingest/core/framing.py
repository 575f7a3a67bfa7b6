"""Messages in the Confluent wire format: one alone, or several, each after its length."""

from libs.common.errors import BadMessage


def messages(body: bytes, most: int) -> list[bytes]:
    """A body that begins with byte 0 is one message; else each has its length before it, a base-128 varint as Protobuf's
    delimited messages have. BadMessage if it ends in between; no more than `most` and one are cut."""
    if body[:1] in (b"", b"\0"):
        return [body] if body else []
    found: list[bytes] = []
    place = 0
    while place < len(body) and len(found) <= most:
        size, place = varint(body, place)
        if size > len(body) - place:
            raise BadMessage("the body ends within a message", rule="length-delimited", code="malformed")
        found.append(body[place : place + size])
        place += size
    return found


def varint(body: bytes, place: int) -> tuple[int, int]:
    """A base-128 number and the place behind it; BadMessage if it is none."""
    number = 0
    for shift in range(0, 35, 7):
        if place >= len(body):
            break
        byte = body[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise BadMessage("not a length of a message", rule="length-delimited", code="malformed")
