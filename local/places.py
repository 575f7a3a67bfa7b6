"""Where things lie: the repository, the cache of downloads, the folder of one running stack."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def cache() -> Path:
    """Downloads, shared by every clone of this user."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sextant"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def home() -> Path:
    """The running stack's data, logs and pids."""
    return Path(os.environ.get("SEXTANT_LOCAL") or ROOT / ".local").resolve()


@contextmanager
def locked(path: Path) -> Generator[None]:
    """One process at a time; the lock goes with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_env(path: Path) -> dict[str, str]:
    """The KEY=VALUE lines of a file, or nothing when there is none."""
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def note_env(path: Path, values: dict[str, str]) -> None:
    """Add values to the file, which only its owner can read."""
    values = {**read_env(path), **values}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    draft.replace(path)
