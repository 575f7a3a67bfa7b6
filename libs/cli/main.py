"""`sextant`: definitions as code, and the operator's commands. Everything goes through the gateway's public API."""

import getpass
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from libs.cli.backfill import backfill, backfills
from libs.cli.letters import dead_letters, redrive, redrives
from libs.cli.parked import parked
from libs.cli.reveal import reveal
from libs.cli.server import Server, Unreachable, Url, fail, local
from libs.cli.source import source as sources
from libs.common.catalog.catalog import Catalog
from libs.common.catalog.check import changes, check
from libs.common.catalog.check_minimise import notes
from libs.common.catalog.cost import costs
from libs.common.catalog.models import FOLDERS
from libs.common.catalog.workspace import Workspace, findings_text, load

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
audit = typer.Typer(help="The audit chain.", no_args_is_help=True)
app.add_typer(audit, name="audit")
app.add_typer(sources, name="source")
app.command()(backfill)
app.command()(backfills)
app.command()(dead_letters)
app.command()(redrive)
app.command()(redrives)
app.command()(parked)
app.command()(reveal)
out = Console(highlight=False, soft_wrap=True)

Folder = Annotated[
    Path, typer.Argument(help="The workspace: a folder with sources/ kpis/ rules/ …", exists=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]

SIGNS = {"create": "[green]+[/]", "update": "[yellow]~[/]", "remove": "[red]-[/]", "unchanged": " "}


def read(folder: Path) -> Workspace:
    """The workspace; exits 1 with every finding if a file cannot be read or is inconsistent by itself."""
    workspace = load(folder)
    if not workspace.findings:
        workspace.findings = [
            workspace.finding(each.kind, each.id, each.path, each.message, each.rule)
            for each in check(workspace.definitions)
        ]
    return workspace


def refuse(workspace: Workspace, as_json: bool, evidence: Sequence[dict[str, Any]] = ()) -> typer.Exit:
    lines = findings_text(workspace.findings, Path.cwd())
    if as_json:
        print(json.dumps({"problems": lines, "changes": [], "evidence": list(evidence)}))
        return typer.Exit(1)
    for line in lines:
        print(line, file=sys.stderr)
    return fail(f"{len(lines)} problem{'s' if len(lines) > 1 else ''}; nothing was applied")


def body(workspace: Workspace, prune: bool) -> dict[str, Any]:
    definitions = [each.model_dump(mode="json", by_alias=True) for each in workspace.definitions]
    return {"definitions": definitions, "remove_missing": prune}


def show(answer: dict[str, Any], workspace: Workspace, as_json: bool) -> None:
    """The changes and what they break; exits 1 with file and line of every problem that the server found."""
    evidence = answer.get("evidence", ())
    for each in () if as_json else evidence:
        out.print(f"contract of {each['source']}: {each['text']}", markup=False)
    for each in answer.get("problems", ()):
        workspace.findings.append(
            workspace.finding(each["kind"], each["id"], each["path"], each["message"], each["rule"])
        )
    if workspace.findings:
        raise refuse(workspace, as_json, evidence)
    if as_json:
        print(json.dumps(answer))
        return
    counts: dict[str, int] = {}
    for each in answer["changes"]:
        counts[each["action"]] = counts.get(each["action"], 0) + 1
        if each["action"] == "unchanged":
            continue
        version = f" → version {each['version']}" if each.get("version") else ""
        out.print(f"{SIGNS[each['action']]} {each['kind']} {each['id']}{version}")
        for detail in each.get("details") or ():
            out.print(f"    {detail}", markup=False)
    show_costs(answer.get("costs", ()))
    out.print(", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing to do")


def show_costs(found: Iterable[dict[str, Any]]) -> None:
    """What each KPI needs of the engine and what its state costs."""
    for each in found:
        out.print(f"  state of {each['kpi']}: {each['text']}", markup=False)
        for need in each["needs"]:
            out.print(f"    {need}", markup=False)


def show_notes(workspace: Workspace) -> None:
    """What is no fault and might be looked at."""
    for source, path, message in notes(workspace.definitions):
        file, line = workspace.locate("source", source, path)
        out.print(f"  note: {file.name}:{line}: {message}", markup=False)


@app.command()
def plan(
    folder: Folder,
    server: Url,
    offline: Annotated[bool, typer.Option(help="Only check the files against each other.")] = False,
    prune: Annotated[bool, typer.Option(help="Also show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what applying a workspace would change, what is inconsistent and why, and what KPIs cost. Writes nothing.

    Example: sextant plan catalog
    """
    workspace = read(folder)
    if workspace.findings:
        raise refuse(workspace, as_json)
    if offline:
        found = changes(Catalog(), workspace.definitions, remove_missing=False)
        estimates = [each.summary() for each in costs(found, Catalog.of(workspace.definitions))]
        if as_json:
            print(json.dumps({"changes": [], "problems": [], "costs": estimates}))
        else:
            show_costs(estimates)
            show_notes(workspace)
            out.print(f"{len(found)} definitions, consistent; not compared with a running system")
        return
    try:
        with Server(server) as gateway:
            show(gateway.post("/v1/catalog/plan", body(workspace, prune)), workspace, as_json)
        if not as_json:
            show_notes(workspace)
    except Unreachable as error:
        raise fail(str(error)) from error


@app.command()
def apply(
    folder: Folder,
    server: Url,
    prune: Annotated[bool, typer.Option(help="Remove what is in force and not in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a workspace in force: all of it or nothing. Services pick it up within a second.

    Example: sextant apply catalog
    """
    workspace = read(folder)
    if workspace.findings:
        raise refuse(workspace, as_json)
    try:
        with Server(server) as gateway:
            show(gateway.post("/v1/catalog/apply", body(workspace, prune)), workspace, as_json)
    except Unreachable as error:
        raise fail(str(error)) from error


@app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="Where the schemas are written.")] = Path("catalog/.schema"),
) -> None:
    """Write the JSON Schema of every kind of definition, for editors.

    Put `# yaml-language-server: $schema=../.schema/kpi.json` on the first line of a KPI's file.
    """
    for kind, content in schemas().items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}.json").write_text(json.dumps(content, indent=1) + "\n")
    out.print(f"{len(FOLDERS)} schemas written to {folder}")


def schemas() -> dict[str, dict[str, Any]]:
    """kind → JSON Schema (draft 2020-12). `kind` itself may be left out: the folder says it."""
    from libs.common.catalog import models

    kinds = (
        models.Source,
        models.Kpi,
        models.Rule,
        models.Objective,
        models.Playbook,
        models.Team,
        models.Policy,
    )
    return {kind.model_fields["kind"].default: kind.model_json_schema(by_alias=True) for kind in kinds}


@app.command()
def login(
    name: Annotated[str, typer.Argument(help="Who signs in.")],
    server: Url,
    password: Annotated[
        str | None, typer.Option(envvar="SEXTANT_PASSWORD", help="Asked for if not given.")
    ] = None,
) -> None:
    """Sign in, and keep the token in the local folder. SEXTANT_TOKEN goes before it.

    Example: sextant login operator
    """
    stored = local() / "passwords.json"
    if password is None and stored.exists():
        password = json.loads(stored.read_text()).get(name)
    if password is None and not sys.stdin.isatty():
        raise fail("no terminal to ask on: give --password or SEXTANT_PASSWORD")
    try:
        with Server(server, bearer="") as gateway:
            found = gateway.sign_in(name, password or getpass.getpass(f"Password of {name}: "))
    except Unreachable as error:
        raise fail(str(error)) from error
    file = local() / "token"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(found)
    out.print(f"signed in as {name}")


@app.command()
def erase(
    source: Annotated[str, typer.Argument(help="Whose events name the subject.")],
    field: Annotated[str, typer.Argument(help="The field that names it: personal or sensitive.")],
    server: Url,
    reason: Annotated[str, typer.Option(help="Why, for the receipt.")],
    value: Annotated[
        str, typer.Argument(help="Its value; `-` reads it from standard input, where no shell keeps it.")
    ] = "-",
    dry_run: Annotated[bool, typer.Option(help="Only count what would go.")] = False,
    wait: Annotated[bool, typer.Option(help="Until every store has answered.")] = True,
) -> None:
    """Erase one subject from every store, and show the receipt. Exit code 1 if it is not done within two minutes.

    Example: sextant erase departures tailnum --reason "request 2026-118" < subject.txt
    """
    value = sys.stdin.readline().rstrip("\n") if value == "-" else value
    order = {"source": source, "field": field, "value": value, "reason": reason, "dry_run": dry_run}
    try:
        with Server(server) as gateway:
            answer = gateway.post("/v1/erasures", order)["result"]
            deadline = time.monotonic() + 120
            while not dry_run and wait and answer["state"] != "done" and time.monotonic() < deadline:
                time.sleep(1)
                answer = gateway.get(f"/v1/erasures/{answer['id']}")
    except Unreachable as error:
        raise fail(str(error)) from error
    out.print_json(data=answer)
    if not dry_run and wait and answer["state"] != "done":
        raise typer.Exit(1)


@app.command()
def ledger(server: Url, as_json: AsJson = False) -> None:
    """The books per source: accepted = landed + dead-lettered + duplicate + in flight + parked + erased. Exit code 1 if
    they do not balance."""
    try:
        with Server(server) as gateway:
            totals = gateway.get("/v1/ledger", limit=1)["totals"]
    except Unreachable as error:
        raise fail(str(error)) from error
    rows = [{"source": source, **totals[source]} for source in sorted(totals)]
    if as_json:
        print(json.dumps(rows))
    else:
        names = (
            "source",
            "accepted",
            "landed",
            "dead_lettered",
            "duplicate",
            "in_flight",
            "parked",
            "erased",
            "imbalance",
        )
        table = Table(*names, box=None)
        for row in rows:
            table.add_row(*(str(row[name]) for name in names))
        out.print(table)
    if any(row["imbalance"] for row in rows):
        raise typer.Exit(1)


@app.command()
def parity(server: Url, as_json: AsJson = False) -> None:
    """How many settled windows of each KPI equal plain SQL over their events. Exit code 1 if one does not."""
    try:
        with Server(server) as gateway:
            rows = gateway.get("/v1/parity")["items"]
    except Unreachable as error:
        raise fail(str(error)) from error
    if as_json:
        print(json.dumps(rows))
    else:
        table = Table("KPI", "version", "windows", "differing", "left out", "compared up to", box=None)
        for row in rows:
            left = ", ".join(f"{count} {reason}" for reason, count in sorted(row["left_out"].items()))
            upto = row["checked_to"] or f"not compared: {row['note'] or 'no window is settled yet'}"
            figures = [str(row[name]) for name in ("kpi_version", "windows", "differing")]
            table.add_row(row["kpi"], *figures, left or "0", upto)
        out.print(table)
        for row in rows:
            if row["first_difference"] is not None:
                out.print(f"\n{row['kpi']}: the first window that differs")
                out.print_json(json.dumps(row["first_difference"]))
    if any(row["differing"] for row in rows):
        raise typer.Exit(1)


@audit.command("verify")
def verify(server: Url) -> None:
    """Hash the whole audit chain again and compare it with the anchored heads. Exit code 1 if it does not hold."""
    try:
        with Server(server) as gateway:
            answer = gateway.get("/v1/audit/verify")
    except Unreachable as error:
        raise fail(str(error)) from error
    out.print_json(data=answer)
    if not answer["intact"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
