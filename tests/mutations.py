"""Requests to push events, each spoilt in some way: bytes on the wire, made from a seed."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

FIELDS = {
    "id": '"{id}"', "at": '"2026-11-24T10:00:00Z"', "level": "1", "total": "12345678901", "ratio": "0.25",
    "open": "true", "day": '"2026-11-24"', "note": '"Grüße"',
}  # fmt: skip
"""A good record, as JSON texts."""
TYPES = {
    "one": "application/json", "list": "application/json", "lines": "application/x-ndjson",
    "jsonl": "application/jsonl", "event": "application/cloudevents+json",
    "events": "application/cloudevents-batch+json", "binary": "application/json",
}  # fmt: skip
ENVELOPE = {"specversion": "1.0", "source": "/s", "type": "t", "time": "2026-11-24T10:00:00Z"}
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "-0", "9" * 30, "9" * 5000, "01", "+1", "0x1", "1.5",
    "-9223372036854775809", "9223372036854775808", "2147483648", "1764000000", "-1", "true", "null", "nul", "", "[1,",
    '""', '"x"', '" "', '"\\ud800"', '"\\ude00\\ud83d"', '"\\x41"', '"a\nb"', '"' + "x" * 70_000 + '"',
    "[]", "{}", '{"a":{"b":1}}', "[" * 3000 + "]" * 3000, "[" * 100_000, '{"a":' * 50_000,
    '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-12:00"', '"2026-02-30T10:00:00Z"', '"2026-11-24T10:00:00"',
    '"2026-11-24T24:00:00Z"', '"2026-13-01"', '"\\u0000"', '"a\\u0000b"',
)  # fmt: skip
WRONG_TYPES = (
    "", " ", "application/xml", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded",
    "application/avro", "avro/binary", "application/octet-stream", "application/json; charset=utf-16", "APPLICATION/JSON",
    "application/json;", ";", "application/" + "x" * 5000, "application/jsön", "application/cloudevents+xml",
)  # fmt: skip
ENCODINGS = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "nonsense", "")
ATTRIBUTES = ("specversion", "id", "source", "type", "time", "data", "traceparent", "datacontenttype")
FLAWED = (
    "null",
    '"\\u0000"',
    '""',
    "1",
    '"0.3"',
    '"1.0 "',
    "[]",
    "{}",
    '"' + "y" * 9000 + '"',
    '"not a time"',
)
PATHS = (
    "/v1/sources/nowhere/events", "/v1/sources/%00/events", "/v1/sources/..%2f/events", "/v1/sources//events",
    "/v1/sources/" + "s" * 4000 + "/events", "/v1/sources/fuzz%20/events", "/v1/sources/fuzz/events/",
    "/v1/sources/fuzz/events?results=some", "/v1/sources/fuzz/events?results=errors", "/v1/sources/%ff%fe/events",
    "/v1/sources/fuzz/events?results=", "/v1/sources/FUZZ/events", "/v1/sources/fuzz", "/v1/sources/fuzz/watermark",
    "/v2", "/",
)  # fmt: skip
LARGE = 17 * 1024 * 1024


@dataclass(frozen=True)
class Attempt:
    """One request. What is no HTTP never gets past the HTTP server, and what is not complete has no answer."""

    what: str
    wire: bytes
    lines: int | None = None
    """Records that it must be answered for, where that is plain to see."""
    http: bool = True
    whole: bool = True


@dataclass
class Draft:
    """A request before it is written down."""

    kind: str
    body: bytes
    headers: dict[str, str]
    path: str
    method: str = "POST"
    ids: list[str] = field(default_factory=list)

    def wire(self, length: str | None = None) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: ingest"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"Content-Length: {len(self.body) if length is None else length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body


def attempts(seed: int, count: int, sources: Sequence[str]) -> Iterator[Attempt]:
    """So many, the same ones for the same seed. A good one is among ten."""
    random = Random(seed)
    for number in range(count):
        ways = random.choices((_record, _bytes, _headers, _http, _good), (45, 25, 15, 5, 10))[0]
        yield ways(random, f"{seed}-{number}", random.choice(sources))


def wide(source: str) -> list[Attempt]:
    """The few that are large: in bytes, in records, in one record, in headers."""
    good = _draft(Random(0), "wide", source, "lines")
    record = _text({**FIELDS, "id": '"wide"', "note": '"' + "n" * 999_000 + '"'}.items())
    over = _text({**FIELDS, "id": '"over"', "note": '"' + "n" * 1_100_000 + '"'}.items())
    bodies = {
        "many bytes": b"x" * LARGE,
        "many records": b"{}\n" * 50_001,
        "a large record": record,
        "one over": over,
    }
    found = [Attempt(name, _with(good, body=body).wire()) for name, body in bodies.items()]
    kinds = {
        "many headers": {f"x-{n}": "v" for n in range(2000)},
        "a large header": {"x-large": "v" * 200_000},
    }
    return found + [Attempt(name, _with(good, headers=more).wire()) for name, more in kinds.items()]


def _with(draft: Draft, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Draft:
    whole = {**draft.headers, **(headers or {})}
    return Draft(draft.kind, draft.body if body is None else body, whole, draft.path)


def _text(members: Iterable[tuple[str, str]]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode()


def _draft(random: Random, id: str, source: str, kind: str | None = None, spoilt: int = -1) -> Draft:
    """A request of one kind; the record at `spoilt` is spoilt."""
    kind = kind or random.choice(list(TYPES))
    count = 1 if kind in ("one", "event", "binary") else random.randint(1, 5)
    records = [
        _spoilt(random, _members(f"{id}-{index}")) if index == spoilt % count and spoilt >= 0
        else _text(_members(f"{id}-{index}"))
        for index in range(count)
    ]  # fmt: skip
    headers = {"Content-Type": TYPES[kind]}
    match kind:
        case "list":
            body = b"[" + b", ".join(records) + b"]"
        case "lines" | "jsonl":
            body = b"\n".join(records)
        case "event" | "events":
            events = [_envelope(random, each, id, spoilt >= 0) for each in records]
            body = events[0] if kind == "event" else b"[" + b",".join(events) + b"]"
        case "binary":
            body = records[0]
            headers |= {f"ce-{name}": value for name, value in ENVELOPE.items()} | {"ce-id": id}
        case _:
            body = records[0]
    return Draft(kind, body, headers, f"/v1/sources/{source}/events")


def _members(id: str) -> list[tuple[str, str]]:
    return [(name, value.replace("{id}", id)) for name, value in FIELDS.items()]


def _envelope(random: Random, data: bytes, id: str, spoil: bool) -> bytes:
    members = [(name, json.dumps(value)) for name, value in {**ENVELOPE, "id": id}.items()]
    members.append(("data", data.decode(errors="surrogateescape")))
    if spoil and random.random() < 0.5:
        name = random.choice(ATTRIBUTES)
        members = [each for each in members if each[0] != name]
        if random.random() < 0.7:
            members.append((name, random.choice(FLAWED)))
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode(
        errors="surrogateescape"
    )


def _spoilt(random: Random, members: list[tuple[str, str]]) -> bytes:
    """A record with a value, a name or a brace that should not be."""
    place = random.randrange(len(members))
    name, value = members[place]
    match random.randrange(8):
        case 0 | 1 | 2:
            members[place] = (name, random.choice(VALUES))
        case 3:
            members.append((name, random.choice((value, *VALUES))))  # the name comes twice
        case 4:
            members.pop(place)
        case 5:
            members.append(
                (random.choice(("extra", "", "id ", "\\u0000", "k" * 20_000)), random.choice(VALUES))
            )
        case 6:
            text = _text(members)
            return random.choice(
                (
                    text + b",",
                    text[:-1] + b",}",
                    b"\xef\xbb\xbf" + text,
                    text + b"\0",
                    text.replace(b'"', b"'"),
                )
            )
        case _:
            text = _text(members)
            at = random.randrange(len(text))
            return (
                text[:at]
                + random.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88", b"\x00"))
                + text[at:]
            )
    return _text(members)


def _good(random: Random, id: str, source: str) -> Attempt:
    """Not spoilt; one in five says again what was said before."""
    again = random.random() < 0.2
    draft = _draft(random, f"again-{random.randrange(20)}" if again else id, source)
    return Attempt(f"good {draft.kind}", draft.wire(), _lines(draft))


def _record(random: Random, id: str, source: str) -> Attempt:
    draft = _draft(random, id, source, spoilt=random.randrange(5))
    return Attempt(f"a spoilt record in {draft.kind}", draft.wire(), _lines(draft))


def _lines(draft: Draft) -> int | None:
    if draft.kind not in ("lines", "jsonl"):
        return None
    return sum(bool(line.strip()) for line in draft.body.split(b"\n"))


def _cut(random: Random, body: bytes) -> bytes:
    return body[: random.randrange(len(body))]


def _flip(random: Random, body: bytes) -> bytes:
    spoilt = bytearray(body)
    for _ in range(random.randint(1, 8)):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _drop(random: Random, body: bytes) -> bytes:
    at = random.randrange(len(body))
    return body[:at] + body[at + random.randint(1, 40) :]


def _put(random: Random, body: bytes) -> bytes:
    at = random.randrange(len(body) + 1)
    return (
        body[:at]
        + random.choice((random.randbytes(random.randint(1, 20)), b"\n", b"\n\n", b"\r", b" ", b"}{"))
        + body[at:]
    )


DAMAGE: Mapping[str, Callable[[Random, bytes], bytes]] = {
    "cut off": _cut, "flipped": _flip, "shortened": _drop, "lengthened": _put,
    "twice": lambda _, body: body + body, "nothing": lambda *_: b"",
    "noise": lambda random, body: random.randbytes(len(body)),
    "nested": lambda random, body: b"[" * random.choice((1, 2, 500, 200_000)) + body,
    "spread over lines": lambda _, body: body.replace(b",", b",\n"),
    "on one line": lambda _, body: body.replace(b"\n", b" "),
    "compressed": lambda _, body: gzip.compress(body), "in UTF-16": lambda _, body: body.decode().encode("utf-16"),
}  # fmt: skip


def _bytes(random: Random, id: str, source: str) -> Attempt:
    """A good body, damaged as a whole."""
    draft = _draft(random, id, source)
    name = random.choice(list(DAMAGE))
    draft.body = DAMAGE[name](random, draft.body)
    return Attempt(f"{draft.kind}, {name}", draft.wire(), _lines(draft))


def _headers(random: Random, id: str, source: str) -> Attempt:
    """A good body under headers, a path or a method that do not suit it."""
    draft = _draft(random, id, source)
    match random.randrange(7):
        case 0:
            del draft.headers["Content-Type"]
        case 1 | 2:
            draft.headers["Content-Type"] = random.choice((*WRONG_TYPES, *TYPES.values()))
        case 3:
            draft.headers["Content-Encoding"] = random.choice(ENCODINGS)
            if random.random() < 0.5:
                draft.body = gzip.compress(draft.body)
        case 4:
            draft.path = random.choice(PATHS)
            draft.method = random.choice(
                ("POST", "POST", "POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")
            )
        case 5:
            draft.headers |= {
                f"ce-{name}": random.choice(("", "1.0", "ü", "x" * 9000, "%00", "null"))
                for name in ATTRIBUTES
            }
        case _:
            name = random.choice(
                ("traceparent", "tracestate", "baggage", "Accept", "Expect", "Cookie", "Idempotency-Key")
            )
            draft.headers[name] = random.choice(
                ("", "00-" + "0" * 32 + "-0-1", "ü", "100-continue", "x" * 60_000, "\t")
            )
    what = f"{draft.kind} with {draft.method} {draft.path[:60]} {str(draft.headers)[:200]}"
    return Attempt(what, draft.wire(), http=draft.method != "BREW")


def _http(random: Random, id: str, source: str) -> Attempt:
    """A length that is not the body's, chunks, or no HTTP at all."""
    draft = _draft(random, id, source)
    size = len(draft.body)
    head = draft.wire().partition(b"\r\n\r\n")[0].rpartition(b"\r\n")[0]
    chunked = head + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%s\r\n" % (size, draft.body)
    match random.randrange(8):
        case 0:
            return Attempt("longer than it is", draft.wire(str(size + random.randint(1, 9999))), whole=False)
        case 1:
            # The rest is the next request, and no HTTP: that is answered, and the first one may be no more. So it is
            # one of which nothing can have been taken.
            one = _draft(random, id, source, "one")
            return Attempt("shorter than it is", one.wire(str(random.randrange(len(one.body)))), http=False)
        case 2:
            length = random.choice(("-1", "many", "1, 2", "0x10", "9" * 40, ""))
            return Attempt(f"a length of {length}", draft.wire(length), http=False)
        case 3:
            return Attempt("in chunks", chunked + body + b"0\r\n\r\n")
        case 4:
            return Attempt("chunks that do not end", chunked + body, whole=False)
        case 5:
            return Attempt(
                "chunks that are none", chunked + b"zz\r\n" + draft.body + b"\r\n0\r\n\r\n", http=False
            )
        case 6:
            return Attempt("no HTTP", random.randbytes(200) + b"\r\n\r\n", http=False)
        case _:
            return Attempt("a cut request", draft.wire()[: random.randrange(1, len(head))], whole=False)
