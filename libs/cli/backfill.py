"""`sextant backfill`, `sextant backfills`: the past of a KPI computed again."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from libs.cli.follow import followed
from libs.cli.server import Server, Unreachable, Url, fail

ENDED = ("done", "failed", "cancelled")
out = Console(highlight=False, soft_wrap=True)


def backfill(
    kpi: Annotated[str, typer.Argument(help="Whose windows.")],
    server: Url,
    start: Annotated[str, typer.Option("--from", help="First moment (RFC 3339) that a window may begin at.")],
    stop: Annotated[str, typer.Option("--to", help="The moment before which windows begin.")],
    dry_run: Annotated[bool, typer.Option(help="Only count what would change.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    follow: Annotated[bool, typer.Option(help="Show how it goes, to its end.")] = False,
) -> None:
    """Compute the closed windows of a KPI in a past range again, from the archive.

    What differs becomes the next revision; what came too late is counted.

    Example: sextant backfill cancellation_rate --from 2013-02-01T00:00:00Z --to 2013-03-01T00:00:00Z --follow
    """
    order = {"kpi": kpi, "from": start, "to": stop, "dry_run": dry_run, "reason": reason}
    try:
        with Server(server) as gateway:
            found = gateway.post("/v1/backfills", order)
            out.print(f"backfill {found['id']} of version {found['kpi_version']} of {kpi} is ordered")
            if follow:
                found = followed(
                    gateway, f"/v1/backfills/{found['id']}", out, share, line, lambda state: state in ENDED
                )
                show(found)
    except Unreachable as error:
        raise fail(str(error)) from error
    if found["state"] in ("failed", "cancelled"):
        raise typer.Exit(1)


def share(found: dict[str, Any]) -> float:
    """Of the windows, 0 to 1; by time."""
    if found["state"] == "done":
        return 1.0
    if found["done_to"] is None:
        return 0.0
    start, stop, at = (datetime.fromisoformat(found[name]) for name in ("from", "to", "done_to"))
    return max(0.0, min(1.0, (at - start) / (stop - start)))


def line(found: dict[str, Any]) -> str:
    parts = [*why(found), f"{found['windows']:,} windows compared"]
    parts += [f"{found[name]:,} {name}" for name in ("new", "revised", "retracted") if found[name]]
    parts.append(f"{found['events']:,} events" + (f", {found['rate']:,.0f}/s" if found["rate"] else ""))
    if found["eta_seconds"] is not None and found["state"] == "running":
        parts.append(f"{found['eta_seconds']:.0f} s left")
    return " · ".join([*parts, found["note"]] if found["note"] else parts)


def why(found: dict[str, Any]) -> list[str]:
    """Of a backfill that nobody ordered: what made it necessary, and what it waits for."""
    parts = [] if found["withdrawal"] is None else [f"after undoing re-drive {found['withdrawal']}"]
    if found["awaits"] is not None and found["state"] in ("queued", "waiting"):
        parts.append(f"waits until windows up to {found['awaits']} are closed")
    return parts


def show(found: dict[str, Any]) -> None:
    verb = "would be " if found["dry_run"] else ""
    counts = ", ".join(f"{found[name]:,} {verb}{name}" for name in ("new", "revised", "retracted"))
    left = f", {found['left']:,} left (their events were disposed of)" if found["left"] else ""
    out.print(f"{found['state']}: {found['windows']:,} windows compared, {counts}{left}")
    if found["note"]:
        out.print(f"    {found['note']}", markup=False)


def backfills(
    server: Url,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")] = False,
    cancel: Annotated[str | None, typer.Option(help="End the one with this id.")] = None,
) -> None:
    """The backfills, the newest first, and how they go.

    Example: sextant backfills --cancel 0b6e7f0c7d0b4c6c9f3b0b6e7f0c7d0b
    """
    try:
        with Server(server) as gateway:
            if cancel is not None:
                gateway.post(f"/v1/backfills/{cancel}/cancel", {})
            items = gateway.get("/v1/backfills")["items"]
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(items))
        return
    whole = Column("id", no_wrap=True)  # it is what --cancel is given
    table = Table(whole, "KPI", "version", "from", "to", "state", "how it goes", box=None)
    for each in items:
        shown = f"{'dry run: ' if each['dry_run'] else ''}{line(each)}"
        table.add_row(
            each["id"], each["kpi"], str(each["kpi_version"]), each["from"], each["to"], each["state"], shown
        )
    out.print(table)
