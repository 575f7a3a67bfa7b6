"""`python -m local`: start, stop and show the servers and the services of this machine."""

import shutil
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from . import download, flink, places, ports, servers, services, status
from .progress import Failed, console, say

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


class Part(StrEnum):
    all = "all"
    servers = "servers"


class Numbers(StrEnum):
    usual = "usual"
    auto = "auto"


@app.command()
def up(
    only: Annotated[Part, typer.Option(help="what to start")] = Part.all,
    numbers: Annotated[Numbers, typer.Option("--ports", help="auto: any that are free")] = Numbers.usual,
) -> None:
    """Start what does not run yet and wait until it answers."""
    home = places.home()
    chosen = ports.free() if numbers is Numbers.auto else ports.from_environment()
    servers.up(home, chosen)
    if only is Part.all:
        services.up(home, chosen if servers.given() else ports.remembered(home) or chosen)
    say(f"           addresses in {home / 'env'}", "dim")


@app.command()
def down() -> None:
    """Stop everything; the data stays."""
    services.down(places.home())
    flink.down(places.home())
    servers.down(places.home())


@app.command()
def flink_up(
    numbers: Annotated[Numbers, typer.Option("--ports", help="auto: any that are free")] = Numbers.usual,
    slots: Annotated[int, typer.Option(help="of the task manager; a KPI takes one")] = 24,
) -> None:
    """Start a Flink session cluster with its SQL gateway."""
    home = places.home()
    home.mkdir(parents=True, exist_ok=True)
    chosen = ports.free() if numbers is Numbers.auto else ports.from_environment()
    addresses = flink.up(home, {name: chosen[name] for name in flink.PORTS}, slots)
    say(f"           jobs: {addresses['SEXTANT_FLINK']}, SQL: {addresses['SEXTANT_FLINK_GATEWAY']}", "dim")
    if services.tell(home, "detector"):
        say("           the detector starts again and submits the KPIs of `engine: flink`", "dim")


@app.command()
def flink_down() -> None:
    """Stop the Flink cluster with its jobs."""
    flink.down(places.home())


@app.command(name="status")
def show() -> None:
    """What runs: pid, port, state, memory, data."""
    table = Table("name", "state", "pid", "port", "memory", "data", "restarts", box=None)
    for row in status.rows(places.home()):
        table.add_row(*row)
    console.print(table)


@app.command()
def env() -> None:
    """The addresses, as KEY=VALUE lines."""
    for key, value in places.read_env(places.home() / "env").items():
        print(f"{key}={value}")


@app.command()
def kill(name: Annotated[str, typer.Argument(help="a service")]) -> None:
    """Kill -9 a service; the supervisor starts it again."""
    say(f"killed {name} (pid {services.kill(places.home(), name)})")


@app.command()
def browser() -> None:
    """Install Chromium, for the dashboard's tests."""
    download.browser()


@app.command()
def reset() -> None:
    """Stop everything and remove the data, logs and passwords."""
    down()
    shutil.rmtree(places.home(), ignore_errors=True)


def main() -> None:
    try:
        app(standalone_mode=True)
    except Failed as error:
        say(f"stopped: {error}", "bold red")
        sys.exit(1)


if __name__ == "__main__":
    main()
