"""A Flink session cluster with its SQL gateway: job manager, task manager and gateway, each a process of its own.

They run on the machine's JDK (Debian's is 17 or 21), which compiles flink/sextant as well: Flink 2.2 knows Java up to
21, and its gateway does not start on the 25 that runs Kafka and the registry.
"""

import hashlib
import shutil
import signal
import sys
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import httpx

from . import download, places
from . import ports as numbers
from .places import ROOT, cache, locked
from .ports import Ports
from .process import Process
from .progress import Failed, step

VERSION = "2.2.1"
SOURCE = ROOT / "flink"
LIBRARIES = (
    "flink-cep", "flink-dist", "flink-json", "flink-table-api-java-uber", "flink-table-planner-loader",
    "flink-table-runtime", "log4j-1.2-api", "log4j-api", "log4j-core", "log4j-slf4j-impl",
)  # fmt: skip
"""Jars of the distribution that a session cluster for SQL needs."""
MAINS = {
    "flink": "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "flink_tasks": "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    "flink_gateway": "org.apache.flink.table.gateway.SqlGateway",
}
"""Each process, in the order of their start."""
HEAP = {"flink": 512, "flink_tasks": 1536, "flink_gateway": 512}
"""MB."""
PORTS = ("flink", "flink_rpc", "flink_gateway")
ADDRESSES: tuple[str, ...] = ("SEXTANT_FLINK", "SEXTANT_FLINK_GATEWAY")
OPENED = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.invoke", "java.net", "java.io", "java.nio", "java.text", "java.time", "java.util",
        "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch",
    )
)  # fmt: skip
"""What Flink's own configuration opens to it."""
JVM = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")


def up(home: Path, ports: Ports, slots: int = 24) -> dict[str, str]:
    """Start what does not run yet, wait until it takes statements, and return (and note) the addresses.

    `slots`: of the task manager. A KPI's job takes one. A task manager or gateway that has died comes beside the job
    manager that lives; the jobs go on from their last checkpoint.
    """
    with locked(home / "flink.lock"):
        path, noted = f"{compiled()}:{fetch()}/*", places.read_env(home / "env")
        if set(ADDRESSES) <= noted.keys() and Process("flink", home).pid is not None:
            addresses = {name: noted[name] for name in ADDRESSES}
        else:
            _stop(home)
            numbers.refuse_taken(ports, PORTS)
            _configure(home / "flink", ports, slots)
            urls = (f"http://127.0.0.1:{ports[name]}" for name in ("flink", "flink_gateway"))
            addresses = dict(zip(ADDRESSES, urls, strict=True))
        before = {name for name in MAINS if Process(name, home).pid is not None}
        try:
            _start(home, path, addresses, set(MAINS) - before)
        except BaseException:
            if not before:
                _stop(home)
            raise
        places.note_env(home / "env", addresses)
        return addresses


def down(home: Path) -> None:
    """Stop it, with its jobs; what they have committed stays."""
    if home.exists():
        with locked(home / "flink.lock"):
            _stop(home)


def state(home: Path, name: str) -> str:
    """Whether a process that runs also answers."""
    noted = places.read_env(home / "env")
    try:
        return "ready" if _answers(name, *(noted[each] for each in ADDRESSES)) else "not ready"
    except (KeyError, httpx.HTTPError) as error:
        return f"not ready ({type(error).__name__})"


def port(noted: Mapping[str, str], name: str) -> str:
    """Of the addresses noted, the port of one process; the task manager has none of its own."""
    address = {"flink": noted.get("SEXTANT_FLINK"), "flink_gateway": noted.get("SEXTANT_FLINK_GATEWAY")}.get(
        name
    )
    return address.rpartition(":")[2] if address else ""


def _answers(name: str, jobs: str, gateway: str) -> bool:
    address, path, sign = {
        "flink": (jobs, "/config", "flink-version"),
        "flink_tasks": (jobs, "/overview", "slots-total"),
        "flink_gateway": (gateway, "/v1/info", "productName"),
    }[name]
    return bool(httpx.get(f"{address}{path}", timeout=5, trust_env=False).json().get(sign))


def _configure(folder: Path, ports: Ports, slots: int) -> None:
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    settings = _settings(folder, ports, slots)
    (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    shutil.copy(ROOT / "local" / "log4j2.properties", folder / "log4j.properties")


def _start(home: Path, path: str, addresses: Mapping[str, str], names: set[str]) -> None:
    """`path`: of the classes."""
    folder = home / "flink"
    options = (*OPENED, f"-Dlog4j2.configurationFile={folder / 'log4j.properties'}", *JVM)
    told = {"FLINK_CONF_DIR": str(folder), "FLINK_PLUGINS_DIR": str(folder / "plugins")}
    processes = {name: Process(name, home) for name in MAINS if name in names}
    for name, process in processes.items():
        arguments = [] if name == "flink_gateway" else ["--configDir", str(folder)]
        quick = [] if name == "flink_tasks" else ["-XX:TieredStopAtLevel=1"]
        heap = f"-Xmx{HEAP[name]}m"
        process.start(
            [_jdk("java"), heap, *quick, *options, "-cp", path, MAINS[name], *arguments], told, folder
        )
    for name, process in processes.items():
        with step(f"{name} is ready"):
            process.wait_until(partial(_answers, name, *(addresses[each] for each in ADDRESSES)))


def _settings(folder: Path, ports: Ports, slots: int) -> dict[str, object]:
    here = "127.0.0.1"
    return {
        "jobmanager.rpc.address": here,
        "jobmanager.bind-host": here,
        "jobmanager.rpc.port": ports["flink_rpc"],
        "rest.address": here,
        "rest.bind-address": here,
        "rest.port": ports["flink"],
        "taskmanager.host": here,
        "taskmanager.bind-host": here,
        "taskmanager.numberOfTaskSlots": slots,
        "taskmanager.cpu.cores": 2,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.heap.size": f"{HEAP['flink_tasks'] - 128}m",
        "taskmanager.memory.task.off-heap.size": "64m",
        "taskmanager.memory.managed.size": "512m",
        "taskmanager.memory.network.min": "64m",
        "taskmanager.memory.network.max": "64m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        # one that was killed is missed soon (its port refuses), one that is only slow is borne with
        "heartbeat.interval": "1000",
        "heartbeat.rpc-failure-threshold": 2,
        "heartbeat.timeout": "50000",
        "pekko.ask.timeout": "60 s",
        "io.tmp.dirs": folder / "tmp",
        "sql-gateway.endpoint.rest.address": here,
        "sql-gateway.endpoint.rest.bind-address": here,
        "sql-gateway.endpoint.rest.port": ports["flink_gateway"],
        "execution.target": "remote",
        "parallelism.default": 1,
        "execution.checkpointing.dir": f"file://{folder}/checkpoints",
        "restart-strategy.type": "exponential-delay",
    }


def _stop(home: Path) -> None:
    for name in reversed(MAINS):
        process = Process(name, home)
        if process.pid is not None:
            with step(f"{name} stopped"):
                process.stop(signal.SIGTERM)


def _jdk(command: str) -> str:
    return str(Path(download.installed("javac", "default-jdk-headless")).resolve().with_name(command))


# --- what it is made of ----------------------------------------------------------------------------------


def fetch() -> Path:
    """The folder of the jars: Flink's distribution from its Python package, connector and formats from Maven."""
    folder = cache() / f"flink-{VERSION}"
    with locked(cache() / "maven.lock"):
        if folder.exists():
            return folder
        maven = download.installed("mvn", "maven")
        with step(f"Apache Flink {VERSION} fetched (about 350 MB) and checked", announce=True):
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
            download.run(
                [maven, "-q", "-B", "-f", SOURCE / "pom.xml", plugin, "-DexcludeTransitive=true",
                 f"-DoutputDirectory={draft}"],
                "see that Maven's repository answers, then run it again",
            )  # fmt: skip
            download.check_digests(draft, "flink")
            _distribution(draft)
            draft.rename(folder)
    return folder


def _distribution(draft: Path) -> None:
    """Flink's own jars, out of a wheel that pip has checked against its hash."""
    download.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
         "-r", SOURCE / "requirements.txt", "-d", draft],
        "see that the Python package index answers, then run it again",
    )  # fmt: skip
    (wheel,) = draft.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            jar = name.rpartition("/")[2]
            if name.startswith("pyflink/lib/") and jar.rpartition("-")[0] in LIBRARIES:
                (draft / jar).write_bytes(archive.read(name))
    wheel.unlink()
    missing = [name for name in LIBRARIES if not list(draft.glob(f"{name}-[0-9]*.jar"))]
    if missing:
        raise Failed(
            f"Flink's package lacks {', '.join(missing)}: is {SOURCE / 'requirements.txt'} of {VERSION}?"
        )


def compiled() -> Path:
    """The jar of `flink/sextant`, compiled anew when its sources change."""
    files = sorted([*(SOURCE / "sextant").glob("*.java"), *(SOURCE / "META-INF").rglob("*Factory")])
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    jar = cache() / f"sextant-flink-{VERSION}-{digest}.jar"
    with locked(cache() / "javac.lock"):
        if jar.exists():
            return jar
        with step("flink/sextant compiled"):
            draft = jar.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            sources = [file for file in files if file.suffix == ".java"]
            command = [
                _jdk("javac"),
                "-nowarn",
                "--release",
                "17",
                "-d",
                draft,
                "-cp",
                f"{fetch()}/*",
                *sources,
            ]
            download.run(command, "is this JDK 17 or later?")
            packed = jar.with_suffix(".new")
            with zipfile.ZipFile(packed, "w") as archive:
                for file in sorted(draft.rglob("*.class")):
                    archive.write(file, file.relative_to(draft))
                for file in files:
                    if file.suffix != ".java":
                        archive.write(file, file.relative_to(SOURCE))
            packed.replace(jar)
            shutil.rmtree(draft)
    return jar
