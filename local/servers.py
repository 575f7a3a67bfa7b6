"""The four real servers, started together: Kafka, TimescaleDB, Redis and the schema registry."""

import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from . import kafka, places, postgres, redis, registry
from . import ports as numbers
from .ports import Ports
from .process import Process
from .progress import Failed, step

ADDRESSES = ("SEXTANT_KAFKA", "SEXTANT_DATABASE", "SEXTANT_REDIS", "SEXTANT_REGISTRY")
PORTS_OF = {
    "kafka": ("kafka", "kafka_controller"),
    "postgres": ("database",),
    "redis": ("redis",),
    "registry": ("registry",),
}
CHECKS: Mapping[str, Callable[[str], bool]] = {
    "SEXTANT_KAFKA": kafka.answers,
    "SEXTANT_DATABASE": postgres.answers,
    "SEXTANT_REDIS": redis.answers,
    "SEXTANT_REGISTRY": registry.answers,
}


def processes(home: Path) -> dict[str, Process]:
    return {name: Process(name, home) for name in PORTS_OF}


def given() -> dict[str, str] | None:
    """The addresses in the environment: all four or none."""
    found = {name: os.environ[name] for name in ADDRESSES if os.environ.get(name)}
    if found and len(found) < len(ADDRESSES):
        missing = ", ".join(name for name in ADDRESSES if name not in found)
        raise Failed(
            f"some servers' addresses are in the environment and some are not: set {missing} too, or none"
        )
    return found or None


def up(home: Path, ports: Ports) -> dict[str, str]:
    """Start what does not run yet, wait until all of it answers, and return (and note) the addresses."""
    addresses = given()
    if addresses:
        _ask(addresses)
        places.note_env(home / "env", addresses)
        return addresses
    if os.geteuid() != 0:
        others = ", ".join(ADDRESSES)
        raise Failed(
            f"PostgreSQL runs in a Debian root of its own, by chroot: run this as root, or set {others}"
        )
    with places.locked(home / "lock"):
        running = {name for name, process in processes(home).items() if process.pid is not None}
        if running:
            ports = numbers.remembered(home) or ports
        _refuse_taken_ports(ports, running)
        numbers.remember(home, ports)
        try:
            addresses = _start(home, ports)
        except BaseException:
            _stop(home, set(PORTS_OF) - running)
            raise
        places.note_env(home / "env", addresses)
        return addresses


def state(home: Path, name: str) -> str:
    """Whether a server that runs also answers."""
    variable = dict(zip(PORTS_OF, ADDRESSES, strict=True))[name]
    try:
        return "ready" if CHECKS[variable](places.read_env(home / "env")[variable]) else "not ready"
    except Exception as error:
        return f"not ready ({type(error).__name__})"


def _start(home: Path, ports: Ports) -> dict[str, str]:
    with ThreadPoolExecutor(4) as pool:
        bus = pool.submit(kafka.start, home, ports)
        database = pool.submit(postgres.start, home, ports)
        cache = pool.submit(redis.start, home, ports)
        schemas = pool.submit(_after, database, lambda: registry.start(home, ports))
        steps = (bus, database, cache, schemas)
        wait(steps, return_when=FIRST_EXCEPTION)
        return dict(zip(ADDRESSES, (each.result() for each in steps), strict=True))


def _after(earlier: Future[str], begin: Callable[[], str]) -> str:
    """The registry keeps its tables in the database; its download need not wait."""
    registry.fetch()
    earlier.result()
    return begin()


def _ask(addresses: Mapping[str, str]) -> None:
    """Servers that somebody else runs must answer before anything relies on them."""
    for name, address in addresses.items():
        with step(f"{name} from the environment answers"):
            try:
                healthy = CHECKS[name](address)
            except Exception as error:
                raise Failed(
                    f"{name} does not answer ({error}): start that server, or unset {name}"
                ) from error
            if not healthy:
                raise Failed(f"{name} answers but is not ready: look at that server, or unset {name}")


def _refuse_taken_ports(ports: Ports, running: set[str]) -> None:
    numbers.refuse_taken(
        ports, (name for server in PORTS_OF if server not in running for name in PORTS_OF[server])
    )


def down(home: Path) -> None:
    """Stop them, the registry before the database it writes to; the data stays."""
    if not home.exists():
        return
    with places.locked(home / "lock"):
        _stop(home, set(PORTS_OF))


def _stop(home: Path, names: set[str]) -> None:
    """PostgreSQL is asked by SIGINT: end now, without waiting for its clients."""
    for group in ({"registry"}, {"kafka", "postgres", "redis"}):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: _stop_one(Process(name, home)), sorted(group & names)))


def _stop_one(process: Process) -> None:
    if process.pid is None:
        return
    with step(f"{process.name} stopped"):
        process.stop(signal.SIGINT if process.name == "postgres" else signal.SIGTERM)
