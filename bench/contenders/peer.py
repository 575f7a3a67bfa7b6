"""What all peers have in common: the job is in their program, told by its environment where to read and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bench.broker import Admin, Records
from bench.contenders import Closing, Command, Place
from bench.job import LATENESS_MS, PARTITIONS, Job, json_values


@dataclass(frozen=True)
class Peer:
    """A peer that reads the job as JSON and writes each closed window once, as JSON."""

    name: str
    title: str
    closing: Closing
    environment: Mapping[str, str]
    delay_ms: int = LATENESS_MS

    async def arrange(self, place: Place) -> None:
        async with Admin(place.bootstrap) as admin:
            await admin.create({place.input: PARTITIONS, self.output(place): PARTITIONS})
        self.state(place).mkdir()

    def state(self, place: Place) -> Path:
        return place.folder / "state"

    def records(self, job: Job) -> Records:
        stream = job.stream
        keys = [job.keys[index] for index in stream.series.tolist()]
        return Records(keys, job.partitions[stream.series], json_values(job))

    def output(self, place: Place) -> str:
        return f"{place.prefix}windows"

    def command(self, place: Place, arguments: Sequence[str]) -> Command:
        told = {
            "BOOTSTRAP": place.bootstrap, "IN": place.input, "OUT": self.output(place),
            "GROUP": f"{place.prefix}job", "COMMIT_MS": str(place.commit_ms),
            "STATE_DIR": str(self.state(place)), "READY": str(place.ready),
        }  # fmt: skip
        return Command(arguments, {**told, **self.environment})

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        return pl.read_ndjson(b"\n".join(values)).rename({"key": "series"}).with_row_index()
