"""`sextant dead-letters`: what could not be used, by its cause."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from libs.cli.server import Server, Unreachable, Url, fail

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
            items = gateway.get("/v1/dead-letters/groups", **only)["items"]
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(items))
        return
    names = ("source", "cause", "stage", "what", "field", "rule", "letters", "last seen", "example")
    table = Table(*names, box=None)
    for each in items:
        table.add_row(
            each["source"], each["cause"], each["stage"], each["code"] or each["error"], each["field"] or "",
            each["rule"] or "", f"{each['letters']:,}", each["last_seen"], each["examples"][0],
        )  # fmt: skip
    out.print(table)
