"""`sextant reveal`: what tokens and encrypted texts stand for."""

import json
import sys
from typing import Annotated

import typer

from libs.cli.server import Server, Unreachable, Url, fail


def reveal(
    source: Annotated[str, typer.Argument(help="Whose events hold them.")],
    field: Annotated[str, typer.Argument(help="In which field.")],
    server: Url,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tokens or encrypted texts; without any, those of standard input, one to a line."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")] = False,
) -> None:
    """Show what tokens and encrypted texts stand for. It goes into the audit. Exit code 1 if one is not known.

    Example: sextant reveal bookings email tok_q5Yb0m1C3k5oYt1Jp8eY2g --reason "complaint 2026-204"
    """
    asked = values or [line.strip() for line in sys.stdin if line.strip()]
    body = {"source": source, "field": field, "values": asked, "reason": reason}
    try:
        with Server(server) as gateway:
            items = gateway.post("/v1/reveals", body)["items"]
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(items))
    else:
        for each in items:
            print(f"{each['value']}\t{each['clear'] or ''}\t{each['reason'] or ''}".rstrip())
    if any(each["reason"] for each in items):
        raise typer.Exit(1)
