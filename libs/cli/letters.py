"""`sextant dead-letters`, `redrive`, `redrives`: what could not be used, by its cause, and sending it in again."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from libs.cli.follow import followed
from libs.cli.server import Server, Unreachable, Url, fail
from libs.common.catalog.workspace import NotYaml, parsed, plain

UNDER_WAY = ("checking", "canary", "running", "undoing")
WAITING = ("checked", "tried", "paused")
out = Console(highlight=False, soft_wrap=True)
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]


def dead_letters(
    server: Url,
    source: Annotated[str | None, typer.Argument(help="Only of this source.")] = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters by their cause, the most frequent first: what one thing mends is one group.

    Example: sextant dead-letters departures
    """
    try:
        with Server(server) as gateway:
            only = {} if source is None else {"source": source}
            found = gateway.get("/v1/dead-letters/groups", **only)
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(found["items"]))
        return
    table = Table(box=None)
    for name in ("source", "cause", "letters", "driven", "last seen"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold")
    for each in found["items"]:
        what = " ".join(each[name] for name in ("stage", "code", "field", "rule") if each[name])
        table.add_row(
            each["source"],
            each["cause"],
            f"{each['letters']:,}",
            f"{each['driven']:,}",
            each["last_seen"][:19],
            what,
        )
    out.print(table)
    if found["groups_left_out"]:
        out.print(f"and {found['groups_left_out']:,} more causes, of {found['letters_left_out']:,} letters")


def redrive(
    source: Annotated[str, typer.Argument(help="Whose dead letters.")],
    server: Url,
    cause: Annotated[str | None, typer.Option(help="Only of this group: see `sextant dead-letters`.")] = None,
    fix: Annotated[
        Path | None,
        typer.Option(help="YAML: a list of steps that mend the records.", exists=True, dir_okay=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Check all of them, then wait for `go`.")] = False,
    canary: Annotated[int | None, typer.Option(help="Drive so many, then wait for `go`.", min=1)] = None,
    rate: Annotated[float, typer.Option(help="Letters a second.", min=0.1, max=10_000)] = 1_000,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    follow: Annotated[bool, typer.Option(help="Show how it goes, until it ends or waits.")] = True,
) -> None:
    """Publish a source's dead letters after all, those that its present definition accepts. Each one once.

    Example: sextant redrive departures --cause 4f0b8c21d9e3 --fix gate.yaml --canary 10
    """
    order = {
        "source": source, "cause": cause, "fix": [] if fix is None else steps(fix), "dry_run": dry_run,
        "canary": canary, "rate": rate, "reason": reason,
    }  # fmt: skip
    try:
        with Server(server) as gateway:
            found = gateway.post("/v1/redrives", {k: v for k, v in order.items() if v is not None})
            out.print(f"re-drive {found['id']} of {found['letters']:,} dead letters of {source} is ordered")
            if follow:
                found = followed(
                    gateway,
                    f"/v1/redrives/{found['id']}",
                    out,
                    share,
                    line,
                    lambda state: state not in UNDER_WAY,
                )
    except Unreachable as error:
        raise fail(str(error)) from error
    if follow:
        show(found)
    if found["state"] in ("failed", "cancelled", "undone"):
        raise typer.Exit(1)


def steps(file: Path) -> list[Any]:
    try:
        tree = plain(parsed(file))
    except NotYaml as error:
        raise fail(f"{file}:{error}") from error
    if not isinstance(tree, list):
        raise fail(f"{file}: a fix is a list of steps, such as `- {{do: drop, field: gate}}`")
    return tree


def share(found: dict[str, Any]) -> float:
    """Of the letters that are to be checked, then of those to be driven, or of the events to be taken back: 0 to 1."""
    if found["state"] == "checking":
        return found["checked"] / max(1, found["letters"])
    if found["state"] == "undoing":
        return found["undone"] / max(1, found["undone"] + found["published"])
    return found["driven"] / max(1, found["driven"] + found["waiting"])


def line(found: dict[str, Any]) -> str:
    counts = [f"{found[name]:,} {said}" for name, said in SAID.items() if found[name]]
    return " · ".join([f"{found['checked']:,} of {found['letters']:,} checked", *counts])


SAID = {
    "waiting": "to drive", "published": "published", "undone": "taken back", "duplicate": "there already",
    "failing": "fail", "before": "driven before", "exhausted": "driven too often", "gone": "gone",
}  # fmt: skip


def show(found: dict[str, Any]) -> None:
    out.print(f"{found['state']}: {line(found)}", markup=False)
    for each in found["failures"]:
        what = ": ".join(each[name] for name in ("code", "field", "rule") if each[name])
        out.print(f"    {each['letters']:,} × {what}", markup=False)
    if found["note"]:
        out.print(f"    {found['note']}", markup=False)
    if found["state"] in WAITING:
        out.print(f"it waits: sextant redrives --go {found['id']}, or --cancel")


def redrives(
    server: Url,
    as_json: AsJson = False,
    go: Annotated[str | None, typer.Option(help="Let the one with this id go on.")] = None,
    pause: Annotated[str | None, typer.Option(help="Stop the one with this id for a while.")] = None,
    cancel: Annotated[str | None, typer.Option(help="End it; what it has published stays.")] = None,
    undo: Annotated[
        str | None, typer.Option(help="Take back what it has published; the letters can be driven again.")
    ] = None,
) -> None:
    """The re-drives, the newest first, and how they go.

    Example: sextant redrives --go 0b6e7f0c7d0b4c6c9f3b0b6e7f0c7d0b
    """
    try:
        with Server(server) as gateway:
            for command, id in (("go", go), ("pause", pause), ("cancel", cancel), ("undo", undo)):
                if id is not None:
                    gateway.post(f"/v1/redrives/{id}/{command}", {})
            items = gateway.get("/v1/redrives")["items"]
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(items))
        return
    whole = Column("id", no_wrap=True)  # it is what the commands are given
    table = Table(whole, "source", "cause", "state", "how it goes", box=None)
    for each in items:
        goes = " · ".join([line(each), each["note"]] if each["note"] else [line(each)])
        table.add_row(each["id"], each["source"], each["cause"] or "", each["state"], escape(goes))
    out.print(table)
