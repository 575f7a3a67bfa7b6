"""`make demo`: applies the workspace, replays until after the blizzard, goes on live, and says what to look at."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from demo import people
from demo.replay import Sender, bearer, replay
from libs.cli.server import Server
from libs.common.catalog.workspace import findings_text, load
from local import places, services
from local.process import Process

ROOT = Path(__file__).parents[1]
BEGIN, STORY, END = (datetime(2013, month, day, tzinfo=UTC) for month, day in ((1, 1), (2, 12), (12, 31)))
LIVE_SPEED = 600.0
"""Seconds of event time per second, after the story: a day in two and a half minutes."""

console = Console(highlight=False, soft_wrap=True)


def apply_workspace(server: str, password: str) -> str:
    """What changed, in a line; exits with the problems if the workspace is refused."""
    workspace = load(ROOT / "catalog")
    if workspace.findings:
        raise SystemExit("\n".join(findings_text(workspace.findings, ROOT)))
    with Server(server, "none") as anonymous:
        token = anonymous.sign_in("operator", password)
    with Server(server, token) as gateway:
        definitions = [each.model_dump(mode="json", by_alias=True) for each in workspace.definitions]
        answer = gateway.post("/v1/catalog/apply", {"definitions": definitions, "remove_missing": False})
    if answer.get("problems"):
        raise SystemExit("\n".join(str(problem) for problem in answer["problems"]))
    changed = sum(change["action"] != "unchanged" for change in answer["changes"])
    return f"{len(answer['changes'])} definitions, {changed} of them new or changed"


def progress_file(home: Path) -> Path:
    return home / "demo.json"


def replay_story(server: str, home: Path) -> None:
    """January and the blizzard, as fast as it goes; once."""
    note = progress_file(home)
    if note.exists():
        return
    sender = Sender(server, bearer(server))
    asyncio.run(replay(sender, start=BEGIN, end=STORY, close=False, console=console))
    note.write_text(json.dumps({"story": "told"}))


def go_on_live(server: str, home: Path) -> None:
    """The rest of the year, in the background, at a lively speed; goes on where it stopped."""
    live = Process(services.REPLAY, home)
    if live.pid is not None:
        return
    command = [sys.executable, "-m", "demo.live", "--server", server]
    live.start(command, {"SEXTANT_LOCAL": str(home)}, ROOT)


def show(server: str, passwords: dict[str, str]) -> None:
    table = Table("sign in as", "password", "role", box=None, pad_edge=False)
    for name, _, roles, department in people.PEOPLE:
        if name != "operator":
            table.add_row(name, passwords[name], f"{', '.join(roles)}, {department}")
    console.print()
    console.print(Panel.fit(f"The dashboard: {server}", border_style="green"))
    console.print(table)
    console.print(
        "\nThree things to try\n"
        "  1. As lena: open the signals. The blizzard of 8 and 9 February is sustained at all three airports;\n"
        "     it was escalated and opened a playbook. Acknowledge it and decide.\n"
        "  2. Click any value and ask why: its window, its events in Kafka, their schema, their quality.\n"
        "  3. As vic: the same events show no aircraft's registration, on no page and no channel.\n"
        "\nmake status says how everything is, make down stops it, make verify-demo proves every number.\n"
    )


def main() -> None:
    home = places.home()
    server = os.environ.get("SEXTANT_GATEWAY_URL") or places.read_env(home / "env").get(
        "SEXTANT_GATEWAY_URL", ""
    )
    if not server:
        raise SystemExit("nothing runs here: make up")
    os.environ["SEXTANT_LOCAL"] = str(home)
    passwords = people.ensure(home)
    try:
        with console.status("applying the workspace"):
            console.print(f"workspace applied: {apply_workspace(server, passwords['operator'])}")
        replay_story(server, home)
        go_on_live(server, home)
    except (httpx.HTTPError, subprocess.SubprocessError) as error:
        raise SystemExit(f"the demonstration cannot go on: {error}; see make status") from error
    show(server, passwords)


if __name__ == "__main__":
    main()
