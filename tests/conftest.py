"""Fixtures that every kind of test may use."""

import os
import secrets
import signal
from collections.abc import Generator
from urllib.parse import urlparse

import pytest

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # small frames, and several workers: threads would only wait

from hypothesis import settings

from tests.backing import Flink, fresh_database, running_flink, running_servers
from tests.examples import examples
from tests.generated.count import HELD
from tests.mesh import Mesh, running_mesh

settings.register_profile("usual", examples(100), deadline=200)
settings.load_profile("usual")
signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end, a run stops its servers too


@pytest.fixture(scope="session")
def servers() -> Generator[dict[str, str]]:
    """The addresses of the real servers: SEXTANT_KAFKA, _DATABASE, _REDIS, _REGISTRY."""
    with running_servers() as addresses:
        yield addresses


@pytest.fixture(scope="session")
def flink_cluster() -> Generator[Flink]:
    """A session cluster with its SQL gateway."""
    with running_flink() as cluster:
        yield cluster


@pytest.fixture
def namespace() -> str:
    """A prefix (SEXTANT_PREFIX) for topics, groups and subjects that no other test has."""
    return f"t{secrets.token_hex(4)}."


@pytest.fixture
def database(servers: dict[str, str], namespace: str) -> Generator[str]:
    """The address of a fresh database with TimescaleDB in it."""
    with fresh_database(servers["SEXTANT_DATABASE"], f"test_{namespace.rstrip('.')}") as url:
        yield url


@pytest.fixture(scope="session")
def mesh(servers: dict[str, str]) -> Generator[Mesh]:
    """The seven services, with the demonstration's workspace in force, and the secrets that tests' sources name."""
    os.environ["SEXTANT_SECRET_TESTS_DATABASE"] = urlparse(servers["SEXTANT_DATABASE"]).password or ""
    os.environ["SEXTANT_SECRET_TESTS_PEOPLE"] = secrets.token_hex(16)
    os.environ["SEXTANT_SECRET_TESTS_EXAMPLES"] = "YSBzZWNyZXQgb2YgdGhlIGV4YW1wbGVz"
    os.environ["SEXTANT_SETTLED_SECONDS"] = "2"  # of the books: nothing here stays undecided for longer
    with running_mesh(servers, "mesh") as mesh:
        yield mesh


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases were generated and held."""
    if HELD:
        kinds = ", ".join(f"{name} {count:,}" for name, count in sorted(HELD.items()))
        terminalreporter.write_line(f"generated cases that held: {HELD.total():,} ({kinds})")
