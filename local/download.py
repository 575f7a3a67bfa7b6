"""What the machine lacks, fetched through its own package managers and checked before use."""

import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from .places import ROOT, cache, locked
from .progress import Failed, say, step

HERE = ROOT / "local"
KAFKA = "kafka-4.3.1"
REGISTRY = "registry-3.3.3"
TIMESCALEDB = "timescaledb-2.19-postgresql-17"
SUITE = "trixie"
_apt = threading.Lock()
_apt_is_fresh = False


def run(command: Sequence[str | Path], mend: str, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; when it fails, say in one line what mends it."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise Failed(f"{command[0]} is missing: {mend}") from error
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise Failed(
            f"{Path(command[0]).name} failed ({said[-1][:200] if said else done.returncode}): {mend}"
        )
    return done.stdout


def installed(command: str, package: str, *more: str) -> str:
    """The path of a command; its Debian package is installed when the machine lacks it."""
    global _apt_is_fresh
    path = shutil.which(command)
    if path:
        return path
    if os.geteuid() != 0:
        raise Failed(f"{command} is missing: as root, apt-get install {package}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # run level 1: start no service
    waiting = ["-qq", "-o", "DPkg::Lock::Timeout=300"]
    with _apt, locked(cache() / "apt.lock"), step(f"Debian package {package} installed", announce=True):
        if not _apt_is_fresh:
            run(["apt-get", "update", *waiting], "see that apt's sources answer", quiet)
            _apt_is_fresh = True
        wanted = ["--no-install-recommends", package, *more]
        run(["apt-get", "install", "-y", *waiting, *wanted], f"see apt-get install {package}", quiet)
    path = shutil.which(command)
    if not path:
        raise Failed(f"{package} brought no {command}: install {command} by hand")
    return path


def kafka() -> Path:
    """The folder of Kafka's jars."""
    return _from_maven(KAFKA, "Apache Kafka", "copy-dependencies", "-DincludeScope=runtime")


def registry() -> Path:
    """The folder of the schema registry."""
    return _from_maven(REGISTRY, "Apicurio Registry", "copy")


def _from_maven(name: str, title: str, goal: str, *options: str) -> Path:
    folder = cache() / name
    with locked(cache() / "maven.lock"):  # Maven's own repository does not bear two at once
        if folder.exists():
            return folder
        maven = installed("mvn", "maven")
        with step(f"{title} {name.rpartition('-')[2]} fetched by Maven and checked", announce=True):
            draft = _draft(name)
            run(
                [maven, "-q", "-B", "-f", HERE / "pom.xml", f"dependency:{goal}", *options,
                 f"-DoutputDirectory={draft}"],
                "see that Maven's repository answers, then run it again",
            )  # fmt: skip
            check_digests(draft, name.partition("-")[0])
            for archive in draft.glob("*.tar.gz"):
                run(["tar", "-xzf", archive, "-C", draft, "--no-same-owner"], "see that the disk has room")
                archive.unlink()
            draft.rename(folder)
    return folder


def _draft(name: str) -> Path:
    """An empty folder that becomes the real one when it is whole."""
    draft = cache() / f"{name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return draft


def check_digests(folder: Path, kind: str) -> None:
    """Exactly the files that digests.txt names, and each with its digest."""
    lines = [line.split() for line in (HERE / "digests.txt").read_text().splitlines()]
    pinned = {path.partition("/")[2]: digest for digest, path in lines if path.startswith(f"{kind}/")}
    found: dict[str, str] = {}
    for path in folder.iterdir():
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    wrong = sorted(name for name in pinned.keys() | found.keys() if pinned.get(name) != found.get(name))
    if wrong:
        raise Failed(
            f"not as pinned in local/digests.txt: {', '.join(wrong[:3])}; do not use, look where it came from"
        )


def timescaledb() -> Path:
    """A small Debian root with PostgreSQL and TimescaleDB in it, whatever Debian the machine has."""
    folder = cache() / TIMESCALEDB
    with locked(cache() / "timescaledb.lock"):
        if folder.exists():
            return folder
        if os.geteuid() != 0:
            raise Failed("PostgreSQL is set up in a root of its own: run this as root")
        debootstrap = installed("debootstrap", "debootstrap", "debian-archive-keyring")
        with step(f"TimescaleDB on PostgreSQL 17 from Debian {SUITE}", announce=True):
            draft = _draft(TIMESCALEDB)
            run(
                [
                    debootstrap,
                    "--variant=minbase",
                    "--include=postgresql-17-timescaledb",
                    SUITE,
                    draft,
                    _mirror(),
                ],
                "see debootstrap/debootstrap.log in the cache folder",
                _proxies(),
            )
            _check_versions(draft)
            for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
                shutil.rmtree(draft / waste, ignore_errors=True)
            draft.rename(folder)
    return folder


def _mirror() -> str:
    """The Debian mirror that this machine's own apt is set to."""
    debian = ["Created-By: Packages", "Origin: Debian", "Label: Debian"]
    targets = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", *debian], "run apt-get update"
    ).split()
    if not targets:
        raise Failed("apt knows no Debian mirror: set one in apt's sources and run apt-get update")
    return targets[0]


def _proxies() -> dict[str, str]:
    """The proxies that apt is set to, for debootstrap, which does not read apt's settings."""
    settings = run(["apt-config", "dump"], "see apt-config dump")
    found = re.findall(r'^Acquire::(https?)::Proxy "([^"]+)";', settings, re.MULTILINE | re.IGNORECASE)
    return {f"{scheme.lower()}_proxy": address for scheme, address in found if address != "DIRECT"}


def _check_versions(root: Path) -> None:
    """At least the pinned versions; Debian's signature is checked by debootstrap."""
    query = [
        "dpkg-query",
        f"--admindir={root}/var/lib/dpkg",
        "--show",
        "--showformat=${Package} ${Version}\n",
    ]
    found = dict(line.split() for line in run(query, "is this Debian?").splitlines())
    for line in (HERE / "timescaledb.txt").read_text().splitlines():
        package, pinned = line.split()
        have = found.get(package, "0")
        if have == pinned:
            continue
        newer = subprocess.run(["dpkg", "--compare-versions", have, "gt", pinned]).returncode == 0
        if not newer:
            raise Failed(
                f"{package} is {have}, older than {pinned} in local/timescaledb.txt: use a current mirror"
            )
        say(f"           {package} is {have}, newer than the pinned {pinned}", "dim")


def browser() -> str:
    """Chromium, for the dashboard's tests."""
    return installed("chromium", "chromium")
