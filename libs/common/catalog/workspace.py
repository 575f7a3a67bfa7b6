"""A workspace: a folder of YAML files, one definition each, with the line of every value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from libs.common.catalog.models import DEFINITION, FOLDERS, AnyDefinition


@dataclass(frozen=True)
class Finding:
    """What is wrong at one line of one file."""

    file: Path
    line: int
    message: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message} ({self.rule})"


@dataclass
class Workspace:
    """The definitions of a folder, and where they stand."""

    folder: Path
    definitions: list[AnyDefinition] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    trees: dict[tuple[str, str], tuple[Path, CommentedMap]] = field(default_factory=dict)

    def locate(self, kind: str, id: str, path: str) -> tuple[Path, int]:
        """File and line of a dotted path in a definition; as deep as the path leads."""
        file, tree = self.trees.get((kind, id), (self.folder, None))
        return file, 1 if tree is None else line_of(tree, path.split(".") if path else [])

    def finding(self, kind: str, id: str, path: str, message: str, rule: str) -> Finding:
        """A fault found later, at its line."""
        file, line = self.locate(kind, id, path)
        return Finding(file, line, message, rule)


def load(folder: Path) -> Workspace:
    """Read every `*.yaml` of the workspace's folders. What cannot be read is a finding, never an exception."""
    workspace = Workspace(folder)
    for kind, name in FOLDERS.items():
        for file in sorted((folder / name).glob("*.yaml")):
            _read(workspace, kind, file)
    known = {*FOLDERS.values()}
    for stray in sorted(folder.glob("*")):
        if stray.is_dir() and not stray.name.startswith(".") and stray.name not in known:
            message = f"the folder {stray.name} is not one of {', '.join(sorted(known))}"
            workspace.findings.append(Finding(stray, 1, message, "known folder"))
    if not workspace.trees and not workspace.findings:
        message = f"there is no definition in {', '.join(sorted(known))}"
        workspace.findings.append(Finding(folder, 1, message, "workspace"))
    return workspace


class NotYaml(Exception):
    """A file says nothing that can be read."""

    def __init__(self, line: int, message: str, rule: str) -> None:
        super().__init__(f"{line}: {message}")
        self.line, self.message, self.rule = line, message, rule


def parsed(file: Path) -> Any:
    """What a YAML file says, with the line of every value; NotYaml if it cannot be read."""
    try:
        return YAML(typ="rt").load(file.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise NotYaml(line, str(error.problem), "YAML") from error
    except UnicodeDecodeError as error:
        raise NotYaml(1, str(error), "UTF-8") from error
    # Such as a date that is none, or a control character.
    except (YAMLError, ValueError, OSError, RecursionError) as error:
        raise NotYaml(1, str(error).partition("\n")[0], "YAML") from error


def _read(workspace: Workspace, kind: str, file: Path) -> None:
    try:
        tree = parsed(file)
    except NotYaml as error:
        workspace.findings.append(Finding(file, error.line, error.message, error.rule))
        return
    if not isinstance(tree, CommentedMap):
        workspace.findings.append(Finding(file, 1, "a definition is a mapping", "mapping"))
        return
    content = plain(tree)
    content.setdefault("kind", kind)
    if content["kind"] != kind:
        message = f"a {content['kind']} does not belong in {FOLDERS[kind]}"
        workspace.findings.append(Finding(file, line_of(tree, ["kind"]), message, "folder"))
        return
    try:
        definition = DEFINITION.validate_python(content)
    except ValidationError as error:
        for fault in error.errors():
            path = [str(part) for part in fault["loc"][1:]]
            shown = ".".join(path) or "definition"
            message = f"{shown}: {fault['msg'].removeprefix('Value error, ')}"
            workspace.findings.append(Finding(file, line_of(tree, path), message, fault["type"]))
        return
    workspace.definitions.append(definition)
    workspace.trees[definition.kind, definition.id] = (file, tree)


def plain(node: Any) -> Any:
    """ruamel's commented containers and scalars as Python's own, dates and times as the text that JSON has for them."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node.isoformat() if isinstance(node, date) else node


def line_of(tree: CommentedMap | CommentedSeq, path: Sequence[str]) -> int:
    """The line (from 1) at which a path's last known part stands; a kind within a path (`pull.http.url`) is no place."""
    line, node = tree.lc.line, tree
    for part in path:
        if isinstance(node, CommentedMap) and part in node:
            line, node = node.lc.key(part)[0], node[part]
        elif isinstance(node, CommentedSeq) and part.isdigit() and int(part) < len(node):
            line, node = node.lc.item(int(part))[0], node[int(part)]
    return line + 1


def findings_text(findings: Iterable[Finding], root: Path) -> list[str]:
    """The findings as `file:line: message (rule)`, files relative to `root` where they lie in it."""
    shown = []
    for finding in findings:
        inside = finding.file.is_relative_to(root)
        file = finding.file.relative_to(root) if inside else finding.file
        shown.append(f"{file}:{finding.line}: {finding.message} ({finding.rule})")
    return shown
