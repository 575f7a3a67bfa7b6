"""Peers in Python, each in an environment of its own: their dependencies contradict each other and ours."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Command, Missing, Place
from bench.contenders.peer import Peer
from local import download
from local.places import ROOT, cache, locked
from local.progress import Failed, step


@dataclass(frozen=True)
class PythonPeer(Peer):
    """`bench/peers/<name>_job.py` and what it needs from PyPI."""

    packages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return cache() / "bench" / self.packages[0].replace("==", "-")

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def program(self) -> Path:
        return ROOT / "bench" / "peers" / f"{self.name}_job.py"

    def prepare(self) -> None:
        with locked(cache() / f"bench-{self.name}.lock"):
            if (self.folder / ".ready").exists():
                return
            shutil.rmtree(self.folder, ignore_errors=True)
            try:
                with step(f"{self.title} installed from PyPI", announce=True):
                    download.run([sys.executable, "-m", "venv", self.folder], "apt-get install python3-venv")
                    install = [self.python, "-m", "pip", "install", "-q", *self.packages]
                    download.run(install, "it may have no wheel for this Python")
                    (self.folder / ".ready").touch()
            except Failed as failed:
                raise Missing(str(failed)) from failed

    def commands(self, place: Place) -> list[Command]:
        return [self.command(place, [str(self.python), str(self.program), *self.arguments])]


@dataclass(frozen=True)
class Bytewax(PythonPeer):
    """At least once only; its recovery store of SQLite files is made before its first start."""

    async def arrange(self, place: Place) -> None:
        await super().arrange(place)
        make = [self.python, "-m", "bytewax.recovery", self.state(place), "1"]
        download.run(make, f"remove {self.folder} and start again")

    def commands(self, place: Place) -> list[Command]:
        snapshot = str(place.commit_ms // 1000)  # whole seconds; 0 is at every epoch
        return [
            self.command(
                place,
                [str(self.python), "-m", "bytewax.run", f"{self.program}:flow", "-w", "1", "-b", "0",
                 "-r", str(self.state(place)), "-s", snapshot],
            )
        ]  # fmt: skip


PYTHON_PEERS = (
    PythonPeer("quix", "Quix Streams 3.28.1", "partition", {}, packages=("quixstreams==3.28.1",)),
    PythonPeer(
        "faust", "Faust 0.15.3", "key", {}, packages=("faust-streaming==0.15.3", "rocksdict", "orjson"),
        arguments=("worker", "-l", "warn", "--without-web"),
    ),
    Bytewax("bytewax", "Bytewax 0.21.1", "key", {}, packages=("bytewax==0.21.1", "confluent-kafka", "orjson")),
)  # fmt: skip
