"""`sextant parked`: events that wait for what they refer to, tried now or given up."""

import json
from typing import Annotated

import typer
from rich.console import Console

from libs.cli.server import Server, Unreachable, Url, fail

out = Console(highlight=False, soft_wrap=True)


def parked(
    source: Annotated[str, typer.Argument(help="Whose events.")],
    server: Url,
    retry: Annotated[bool, typer.Option("--retry", help="Try them now, whatever their tier.")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="Make dead letters of them now.")] = False,
    key: Annotated[str | None, typer.Option(help="Only those of this key.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")] = False,
) -> None:
    """What of a source waits for rows that have not come; tried now, or given up, which can be driven again.

    Example: sextant parked departures --give-up --key N14228
    """
    if retry and give_up:
        raise fail("give one of --retry and --give-up")
    path = f"/v1/sources/{source}/parked"
    try:
        with Server(server) as gateway:
            if retry or give_up:
                order = {"do": "retry" if retry else "give_up", "reason": reason}
                found = gateway.post(path, order if key is None else {**order, "key": key})
            else:
                found = gateway.get(path)
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(found))
        return
    if retry or give_up:
        what = "keys of it were tried" if retry else "events were given up"
        out.print(f"{found['touched']:,} {what}", markup=False)
    if not found["events"]:
        out.print(f"nothing of {source} is parked")
        return
    out.print(f"{found['events']:,} events of {found['keys']:,} keys of {source} are parked", markup=False)
    out.print(f"    the oldest was accepted at {found['oldest']}", markup=False)
    out.print(
        f"    the next try is {'at ' + found['next_try'] if found['next_try'] else 'under way'}", markup=False
    )
    known = ", ".join(f"{keys:,} of {name}" for name, keys in found["references"].items())
    out.print(f"    {found['room']:.1%} of the room is taken; keys known: {known or 'none'}", markup=False)
