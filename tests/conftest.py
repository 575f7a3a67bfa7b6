"""Fixtures that every kind of test may use."""

import secrets
from collections.abc import Generator

import pytest

from demo.verify import ROOT, running
from libs.common.catalog.workspace import load
from tests.backing import fresh_database, running_servers
from tests.mesh import Mesh, until


@pytest.fixture(scope="session")
def servers() -> Generator[dict[str, str]]:
    """The addresses of the real servers: SEXTANT_KAFKA, _DATABASE, _REDIS, _REGISTRY."""
    with running_servers() as addresses:
        yield addresses


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
    """The seven services, with the demonstration's workspace in force."""
    with running(servers, "mesh") as stack:
        stack.apply(load(ROOT / "catalog"))
        mesh = Mesh(stack)
        for source in ("departures", "arrivals", "weather", "carriers", "aircraft", "airports"):
            path = f"/v1/sources/{source}/events"
            until(lambda path=path: mesh.service("ingest").post(path, content="[]").status_code == 200)
        yield mesh
        mesh.close()
