"""The real servers that tests run against, and what keeps one test from seeing another's data."""

import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from local import flink, ports, postgres, servers
from local.process import Process

TEMPLATE = "sextant_template"


@contextmanager
def running_servers() -> Generator[dict[str, str]]:
    """Those whose addresses the environment gives; otherwise a stack of our own on free ports."""
    addresses = servers.given()
    if addresses:
        yield addresses
        return
    with tempfile.TemporaryDirectory(prefix="sextant-test-") as folder:
        home = Path(folder)
        try:
            yield servers.up(home, ports.free())
        finally:
            servers.down(home)


@dataclass(frozen=True)
class Flink:
    """A cluster of our own."""

    home: Path
    addresses: dict[str, str]
    """SEXTANT_FLINK, SEXTANT_FLINK_GATEWAY."""

    def kill_tasks(self) -> None:
        """Kill -9 of the task manager, and wait until it is gone."""
        Process("flink_tasks", self.home).stop(signal.SIGKILL)

    def mend(self) -> None:
        """Start again what has died."""
        flink.up(self.home, {})


@contextmanager
def running_flink(slots: int = 2) -> Generator[Flink]:
    with tempfile.TemporaryDirectory(prefix="sextant-flink-") as folder:
        home, numbers = Path(folder), ports.free()
        try:
            yield Flink(home, flink.up(home, {name: numbers[name] for name in flink.PORTS}, slots))
        finally:
            flink.down(home)


@contextmanager
def fresh_database(url: str, name: str) -> Generator[str]:
    """A database with the extension in it, copied from a template; gone afterwards."""
    base = url.rpartition("/")[0]
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        _make_template(connection, base)
        wanted, template = sql.Identifier(name), sql.Identifier(TEMPLATE)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(wanted, template))
        try:
            yield f"{base}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(wanted))


def _make_template(connection: psycopg.Connection, base: str) -> None:
    """Once per server; nobody can connect to it afterwards, so that it can always be copied."""
    connection.execute("SELECT pg_advisory_lock(20130208)")
    try:
        found = "SELECT datallowconn FROM pg_database WHERE datname = %s"
        state = connection.execute(found, [TEMPLATE]).fetchone()
        if state == (False,):
            return
        template = sql.Identifier(TEMPLATE)
        if state is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(template))
        with psycopg.connect(f"{base}/{TEMPLATE}", autocommit=True) as inside:
            postgres.add_timescaledb(inside)
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(template))
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [TEMPLATE]
        )
    finally:
        connection.execute("SELECT pg_advisory_unlock(20130208)")
