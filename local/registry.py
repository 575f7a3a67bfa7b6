"""The schema registry: Apicurio, through its Confluent-compatible API, with its tables in PostgreSQL."""

from pathlib import Path

import httpx
from psycopg.conninfo import conninfo_to_dict

from . import download, postgres
from .java import java
from .ports import Ports
from .process import Process
from .progress import step


def fetch() -> Path:
    """Its folder; fetching it can go on while PostgreSQL is made ready."""
    return download.registry()


def start(home: Path, ports: Ports) -> str:
    """Start it, once PostgreSQL answers, and return its address."""
    process = Process("registry", home)
    port = ports["registry"]
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    folder = fetch()
    if process.pid is None:
        with step(f"Schema registry answers on 127.0.0.1:{port}"):
            command = java(256, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", "quarkus-run.jar")
            process.start(command, _settings(postgres.address(home, ports), port), cwd=folder)
            process.wait_until(lambda: answers(url))
    return url


def _settings(database: str, port: int) -> dict[str, str]:
    where = conninfo_to_dict(database)
    return {
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
        "QUARKUS_MANAGEMENT_PORT": "0",
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
        "QUARKUS_LOG_LEVEL": "WARN",
        "QUARKUS_LOG_CATEGORY__IO_APICURIO__LEVEL": "WARN",
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://127.0.0.1:{where['port']}/{postgres.REGISTRY_DATABASE}",
        "APICURIO_DATASOURCE_USERNAME": str(where["user"]),
        "APICURIO_DATASOURCE_PASSWORD": str(where["password"]),
    }


def answers(url: str) -> bool:
    return httpx.get(f"{url}/subjects", timeout=5, trust_env=False).status_code == 200
