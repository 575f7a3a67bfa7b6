"""Who takes events in over HTTP: Sextant's real ingest process, and a program in Go that does the same with less."""

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bench.broker import Admin
from bench.contenders import Command, Missing, Place, Program
from bench.contenders.sextant import free_port, put_in_force, registered, service, source
from bench.job import PARTITIONS
from libs.common.catalog import Source
from libs.common.topics import used_by
from local import download
from local.places import ROOT, cache, locked
from local.progress import Failed, step

PATH = "/v1/sources/readings/events"


def readings() -> Source:
    """The events of the peer job, each with an id."""
    fields = [{"name": field.name, "type": field.type} for field in source("avro").fields]
    return source("avro", event_id="id", fields=[*fields, {"name": "id", "type": "string"}])


@dataclass
class Ingest:
    """One process of `services.ingest`, its source put in force as strategy would."""

    environment: dict[str, str] = field(default_factory=dict)
    name: str = "ingest"
    title: str = "Sextant"
    port: int = 0

    def prepare(self) -> None:
        """It is this repository."""

    async def arrange(self, place: Place) -> None:
        async with Admin(place.bootstrap) as admin:
            await admin.create({place.prefix + name: count for name, _, count in used_by("ingest")})
            await admin.create({place.input: PARTITIONS})
        schema_id = await registered(place, readings())
        await put_in_force(place, [readings()], schema_id)

    def commands(self, place: Place) -> list[Command]:
        self.port = free_port()
        told = {"SEXTANT_RECEIPT_SECRET": "of the benchmark of ingest", **self.environment}
        return [service("ingest", place, self.port, told)]


@dataclass
class GoPeer:
    """`bench/peers/go_ingest`: net/http and franz-go."""

    name: str = "go"
    title: str = "Go"
    port: int = 0
    folder: Path = ROOT / "bench" / "peers" / "go_ingest"

    @property
    def built(self) -> Path:
        """Named by what it is built from."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum", "main.go"):
            digest.update((self.folder / name).read_bytes())
        return cache() / "bench" / f"go_ingest-{digest.hexdigest()[:12]}"

    def prepare(self) -> None:
        with locked(cache() / "go.lock"):
            if self.built.exists():
                return
            go = shutil.which("go") or shutil.which("go", path=f"{os.environ.get('GOROOT', '')}/bin")
            if go is None:
                raise Missing("there is no go on PATH or in GOROOT")
            try:
                with step(f"{self.title} peer fetched from the module proxy and compiled", announce=True):
                    build = [go, "build", "-C", self.folder, "-o", self.built, "."]
                    download.run(build, "see that the module proxy (GOPROXY) answers")
            except Failed as failed:
                raise Missing(str(failed)) from failed

    async def arrange(self, place: Place) -> None:
        async with Admin(place.bootstrap) as admin:
            await admin.create({place.input: PARTITIONS})

    def commands(self, place: Place) -> list[Command]:
        self.port = free_port()
        told = {"BOOTSTRAP": place.bootstrap, "OUT": place.input, "PORT": str(self.port)}
        return [Command([str(self.built)], told)]


Server = Ingest | GoPeer
GO: Program = GoPeer()
