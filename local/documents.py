"""`python -m local.documents`: write the documents that derive from code (`docs/topics.md`).

`tests/contracts/test_topics.py` fails while what is committed is not what would be written.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from libs.common.topics import TOPICS, Topic

ROOT = Path(__file__).parents[1]
HEAD = """\
# Topics

The whole bus, written from `libs/common/topics.py` by `make docs`. Every name has the setting `SEXTANT_PREFIX` in
front. JSON values are the events of `libs/common/events/`, of which [examples](../tests/contracts/examples/) parse
for ever; Avro values are in the Confluent wire format; Arrow values are IPC streams. Retention counts from arrival.
"""
WIRES = {"json": "JSON", "avro": "Avro", "arrow": "Arrow"}


def kept(topic: Topic) -> str:
    if topic.compacted:
        return "the last per key"
    if topic.retention is None:
        return "for ever"
    days = topic.retention / timedelta(days=1)
    return f"{days:g} day" + ("s" if days != 1 else "")


def value(topic: Topic) -> str:
    name = WIRES[topic.wire]
    return name if topic.event is None else f"{name} `{topic.event.__name__}`"


def topics_page() -> str:
    """The page, as Markdown."""
    lines = [
        HEAD,
        "| topic | carries | key | value | partitions | kept | written by | read by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{topic.name}` | {topic.purpose} | {topic.key.replace('|', chr(92) + '|')} | {value(topic)}"
        f" | {topic.partitions} | {kept(topic)} | {', '.join(topic.producers)} | {', '.join(topic.consumers)} |"
        for topic in TOPICS
    ]
    notes = "`events.{source}` has as many partitions as its source's definition says; 4 is the default."
    return "\n".join([*lines, "", notes, ""])


def documents() -> Iterator[tuple[Path, str]]:
    """Every derived document, with its text."""
    yield ROOT / "docs" / "topics.md", topics_page()


def main() -> None:
    for file, text in documents():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        print(f"{file.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
