"""Flink in a MiniCluster, and Kafka Streams: built from Maven's packages, one class each."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Command, Missing, Place
from bench.contenders.peer import Peer
from local import download
from local.places import ROOT, cache, locked
from local.progress import Failed, step

HEAP = "-Xmx1g"
OPENED = (
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
)
"""What Flink's own start scripts open to it."""


@dataclass(frozen=True)
class JvmPeer(Peer):
    """`bench/peers/<folder>/`: pom.xml with the pinned packages, Main.java with the job."""

    folder: str = ""
    options: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        return ROOT / "bench" / "peers" / self.folder

    @property
    def built(self) -> Path:
        """Named by what it is built from."""
        digest = hashlib.sha256()
        for name in ("pom.xml", "Main.java", "simplelogger.properties"):
            digest.update((self.source / name).read_bytes())
        return cache() / "bench" / f"{self.folder}-{digest.hexdigest()[:12]}"

    def prepare(self) -> None:
        with locked(cache() / "maven.lock"):
            if self.built.exists():
                return
            try:
                with step(f"{self.title} fetched by Maven and compiled", announce=True):
                    self._build()
            except Failed as failed:
                raise Missing(str(failed)) from failed

    def _build(self) -> None:
        maven = download.installed("mvn", "maven")
        javac = download.installed("javac", "default-jdk-headless")
        draft = self.built.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "classes").mkdir(parents=True)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={draft / 'jars'}"]
        pom = self.source / "pom.xml"
        download.run([maven, "-q", "-B", "-f", pom, *goal], "see that Maven's repository answers")
        main = self.source / "Main.java"
        download.run(
            [javac, "-d", draft / "classes", "-cp", f"{draft}/jars/*", main], "is this JDK 17 or later?"
        )
        shutil.copy(self.source / "simplelogger.properties", draft / "classes")
        draft.rename(self.built)

    def commands(self, place: Place) -> list[Command]:
        path = f"{self.built}/jars/*:{self.built}/classes"
        return [self.command(place, ["java", HEAP, *self.options, "-cp", path, "Main"])]


def _flink(name: str, title: str, environment: Mapping[str, str]) -> JvmPeer:
    return JvmPeer(name, title, "all", environment, folder="flink", options=OPENED)


def _kstreams(name: str, title: str, environment: Mapping[str, str]) -> JvmPeer:
    return JvmPeer(name, title, "partition", environment, folder="kstreams")


JVM_PEERS = (
    _flink("flink", "Flink 2.2.1", {"BACKEND": "hashmap"}),
    _flink("flink-rocksdb", "Flink 2.2.1, RocksDB", {"BACKEND": "rocksdb"}),
    _kstreams("kstreams", "Kafka Streams 4.3.1", {}),
    _kstreams("kstreams-suppress", "Kafka Streams 4.3.1, suppress()", {"SUPPRESS": "1"}),
)
