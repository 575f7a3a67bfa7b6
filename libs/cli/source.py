"""`sextant source`: try a pull before it is put in force, and learn how a source is best connected."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from ruamel.yaml import YAML

from libs.cli.server import Server, Unreachable, Url, fail
from libs.common.catalog.workspace import NotYaml, parsed, plain

source = typer.Typer(help="Sources: try a pull, and how one is best connected.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
MOST_SHOWN = 20
"""Refused records."""


@source.command("try")
def try_(
    file: Annotated[
        Path, typer.Argument(help="A source's YAML; `pull` is enough.", exists=True, dir_okay=False)
    ],
    server: Url,
    limit: Annotated[int, typer.Option(help="Records of the sample, at most.", min=1, max=1000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Fetch a sample of a pull, draft a definition, and show what would be refused. Nothing is kept. Exit code 1 if
    any record would be.

    Example: sextant source try catalog/sources/shifts.yaml
    """
    try:
        tree = plain(parsed(file))
    except NotYaml as error:
        raise fail(f"{file}:{error}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("pull"), dict):
        raise fail(f"{file}: a source to try is a mapping with `pull`")
    try:
        with Server(server) as gateway:
            found = gateway.post("/v1/sources/try", {"definition": tree, "limit": limit})["result"]
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(found))
    else:
        show(found, drafted="fields" not in tree)
    if found["rejected"] or found["problem"]:
        raise typer.Exit(1)


def show(found: dict[str, Any], *, drafted: bool) -> None:
    out.print(f"{found['records']} records by {found['kind']}")
    for record in found["sample"]:
        out.print(f"    {record}", markup=False)
    if found["records"]:
        out.print("\na draft of a definition:\n" if drafted else "\nwhat would be drafted from the sample:\n")
        YAML().dump(found["draft"], sys.stdout)
    for note in found["notes"]:
        out.print(f"note: {note}", markup=False)
    whose = "the draft" if drafted else "the definition"
    if found["problem"]:
        out.print(f"\n{whose} is not whole: {found['problem']}", markup=False)
        return
    out.print(f"\n{whose} accepts {found['accepted']} of {found['records']} records")
    for each in found["rejected"][:MOST_SHOWN]:
        field, value = each["field"] or "the record", each["value"]
        shown = "" if value is None else f" = {value}"
        out.print(f"    record {each['index']}, {field}{shown}: {each['reason']}", markup=False)
    if len(found["rejected"]) > MOST_SHOWN:
        out.print(f"    and {len(found['rejected']) - MOST_SHOWN} more")


@source.command("example")
def example(
    source: Annotated[str, typer.Argument(help="The source's id.")],
    server: Url,
    curl: Annotated[bool, typer.Option("--curl", help="Only the commands with curl.")] = False,
    python: Annotated[bool, typer.Option("--python", help="Only the program in Python.")] = False,
    as_json: AsJson = False,
) -> None:
    """How to send events to a source: commands with curl and a program in Python that send one that it accepts.

    Example: sextant source example weather --curl | sh
    """
    try:
        with Server(server) as gateway:
            found = gateway.get(f"/v1/sources/{source}/examples")
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(found))
    elif curl != python:
        print(found["curl" if curl else "python"], end="")
    else:
        for need in found["needs"]:
            print(f"# {need}")
        print(f"\n# with curl\n{found['curl']}\n# with Python\n{found['python']}", end="")


@source.command()
def advise(
    source: Annotated[str, typer.Argument(help="The source's id.")], server: Url, as_json: AsJson = False
) -> None:
    """Whether a source should push or be pulled, how often, and how fast values can be: from how its events came. And how
    its partitions are used, and what to do about keys that carry too much.

    Example: sextant source advise weather
    """
    try:
        with Server(server) as gateway:
            found = gateway.get(f"/v1/sources/{source}/cadence")
            detail = gateway.get(f"/v1/sources/{source}")
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps({**found, "keyed_by": detail["keyed_by"], "partitions": detail["partitions"]}))
        return
    every = f" every {found['every_seconds']:,} s" if found["every_seconds"] else ""
    out.print(f"{source}: {found['connect']}{every}; values within {found['latency']}")
    out.print(f"    {found['why']}", markup=False)
    deliveries = f"{found['events']:,} in {found['deliveries']:,} deliveries"
    figures = {
        "events looked at": f"{deliveries} over {found['span_seconds']:,.0f} s",
        "between deliveries": _range(found["delivery_gap_p50"], found["delivery_gap_p95"]),
        "from event to arrival": _range(found["delay_p50"], found["delay_p95"]),
        "now": "pulled" if found["pulled"] else "pushed",
    }
    for name, text in figures.items():
        out.print(f"    {name}: {text}", markup=False)
    show_partitions(detail)


def show_partitions(detail: dict[str, Any]) -> None:
    found = detail["partitions"]
    by = f" by {', '.join(detail['key'])}" if detail["key"] else ""
    out.print(f"\npartitions: {detail['keyed_by']}{by}", markup=False)
    if found is None:
        out.print("    ingest does not answer: how they are used is not known")
        return
    if found["wanted"] > found["count"]:
        readers = ", ".join(found["waits_for"]) or "nobody any more"
        out.print(f"    {found['count']} are becoming {found['wanted']}: waits for {readers}")
    if found["unordered_since"]:
        out.print(
            f"    added at {found['unordered_since']} before all had been read: events of then may be out of order"
        )
    for each in found["shares"]:
        out.print(
            f"    {each['partition']:>3}: {each['records']:>6.1%} of the records, {each['bytes']:>6.1%} of the bytes"
        )
    for each in found["keys"]:
        key = "a hidden key" if each["key"] is None else f"key {each['key'] or '(empty)'}"
        out.print(f"    {key}: {each['share']:.1%} (± {found['error']:.1%})", markup=False)
    for text in found["advice"]:
        out.print(f"    advice: {text}", markup=False)


def _range(half: float | None, most: float | None) -> str:
    return "not known" if half is None or most is None else f"{half:,.1f} s (half), {most:,.1f} s (95 of 100)"
