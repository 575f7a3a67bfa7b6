"""TimescaleDB: PostgreSQL 17 from its own Debian root, entered by chroot in a mount namespace of its own.

The namespace is private to the process: nothing stays mounted when it ends, and stacks can share the root.
"""

import os
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path

import psycopg

from . import download
from .ports import Ports
from .process import Process
from .progress import step

USER = "sextant"
DATABASE = "sextant"
REGISTRY_DATABASE = "registry"
BINARIES = "/usr/lib/postgresql/17/bin"
DATA = "/srv/data"  # inside the root; the stack's own folder is mounted on /srv
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_connections": 200,
    "max_locks_per_transaction": 512,
    "max_worker_processes": 24,
    "shared_buffers": "512MB",
    "effective_cache_size": "2GB",
    "max_wal_size": "2GB",
    "random_page_cost": 1.1,
    "jit": "off",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def address(home: Path, ports: Ports) -> str:
    """The database's address, with the password that was drawn for this stack."""
    return f"postgresql://{USER}:{_password(home)}@127.0.0.1:{ports['database']}/{DATABASE}"


def start(home: Path, ports: Ports) -> str:
    """Start it, make its databases once, and return its address."""
    process = Process("postgres", home)
    url = address(home, ports)
    root = download.timescaledb()
    if process.pid is None:
        with step(f"TimescaleDB answers on 127.0.0.1:{ports['database']}"):
            folder = home / "postgres"
            if not (folder / "data" / "PG_VERSION").exists():
                _initialise(root, folder, _password(home))
            settings = {**SETTINGS, "port": ports["database"]}
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            process.start(_inside(root, folder, ["postgres", "-D", DATA, *options]))
            process.wait_until(lambda: answers(_maintenance(url)))
            _make_databases(url)
    return url


def _password(home: Path) -> str:
    path = home / "database-password"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


def _initialise(root: Path, folder: Path, password: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    owner = (root / "var/lib/postgresql").stat()
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    once = folder / "password"
    once.touch(mode=0o600)
    once.write_text(password)
    for path in (folder / "data", once):
        os.chown(path, owner.st_uid, owner.st_gid)
    command = [
        "initdb", "-D", DATA, f"--username={USER}", "--pwfile=/srv/password", "--auth=scram-sha-256",
        "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
    ]  # fmt: skip
    try:
        download.run(_inside(root, folder, command), f"remove {folder} and start again")
    finally:
        once.unlink()


def _inside(root: Path, folder: Path, command: Sequence[str]) -> list[str]:
    """The command as user postgres in that root, with the stack's folder mounted for this process alone."""
    script = " && ".join(
        [
            f"mount --bind {shlex.quote(str(folder))} {shlex.quote(str(root / 'srv'))}",
            f"mount --rbind /dev {shlex.quote(str(root / 'dev'))}",
            f"exec chroot --userspec=postgres:postgres {shlex.quote(str(root))} "
            f"/usr/bin/env -i LANG=C.UTF-8 PATH={BINARIES}:/usr/bin:/bin {shlex.join(command)}",
        ]
    )
    return ["unshare", "--mount", "sh", "-c", script]


def _maintenance(url: str) -> str:
    return f"{url.rpartition('/')[0]}/postgres"


def _make_databases(url: str) -> None:
    with psycopg.connect(_maintenance(url), autocommit=True) as connection:
        present = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in {DATABASE, REGISTRY_DATABASE} - present:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    with psycopg.connect(url, autocommit=True) as connection:
        add_timescaledb(connection)


def add_timescaledb(connection: psycopg.Connection) -> None:
    """The extension, without its one job, which belongs to the edition that Debian does not ship."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    connection.execute("UPDATE _timescaledb_config.bgw_job SET scheduled = false WHERE scheduled")


def answers(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=5) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)
