"""The whole mesh for tests: seven processes on the real servers, asked over HTTP as their users do."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import psycopg

from demo.verify import ROOT, Stack, running
from libs.common.catalog.workspace import load
from libs.common.settings import ServiceSettings
from local.process import Process

T = TypeVar("T")


@dataclass
class Mesh:
    """A running mesh. `as_(name)` is a client signed in as one of the demonstration's people."""

    stack: Stack
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    @property
    def passwords(self) -> dict[str, str]:
        return json.loads((self.stack.home / "passwords.json").read_text())

    @property
    def settings(self) -> ServiceSettings:
        """To read and write its topics."""
        env = self.stack.env
        prefix = env.get("SEXTANT_PREFIX", "")
        return ServiceSettings(
            kafka=env["SEXTANT_KAFKA"], database="", redis="", registry="", port=1, prefix=prefix
        )

    def url(self, service: str) -> str:
        return self.stack.env[f"SEXTANT_{service.upper()}_URL"]

    def service(self, name: str, subject: str = "test") -> httpx.Client:
        """A client inside the mesh, as the gateway is one."""
        headers = {"x-sextant-subject": subject}
        return self.clients.setdefault(
            f"in {name}", httpx.Client(base_url=self.url(name), headers=headers, timeout=60, trust_env=False)
        )

    def token(self, name: str) -> str:
        body = {"username": name, "password": self.passwords[name]}
        return httpx.post(f"{self.stack.gateway}/v1/token", json=body, trust_env=False).json()["access_token"]

    def as_(self, name: str) -> httpx.Client:
        if name not in self.clients:
            headers = {"Authorization": f"Bearer {self.token(name)}"}
            client = httpx.Client(base_url=self.stack.gateway, headers=headers, timeout=60, trust_env=False)
            self.clients[name] = client
        return self.clients[name]

    def answers(self, name: str, path: str) -> bool:
        """Whether the gateway is there and answers one of its people; it may be starting again."""
        try:
            return self.as_(name).get(path).status_code == 200
        except httpx.TransportError:
            return False

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.database, autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def define(self, *definitions: dict[str, Any]) -> dict[str, Any]:
        """Put definitions in force beside the others."""
        answer = self.service("strategy").post("/v1/catalog/apply", json={"definitions": list(definitions)})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def kill(self, service: str) -> None:
        """Kill -9, as soon as it runs again from the last time."""
        pid = until(lambda: Process(service, self.stack.home).pid)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: Process(service, self.stack.home).pid != pid)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


@contextmanager
def running_mesh(servers: Mapping[str, str], name: str) -> Generator[Mesh]:
    """The seven services on topics and a database of their own, with the demonstration's workspace in force."""
    with running(dict(servers), name) as stack:
        stack.apply(load(ROOT / "catalog"))
        mesh = Mesh(stack)
        for source in ("departures", "arrivals", "weather", "carriers", "aircraft", "airports"):
            path = f"/v1/sources/{source}/events"
            until(lambda path=path: mesh.service("ingest").post(path, content="[]").status_code == 200)
        try:
            yield mesh
        finally:
            mesh.close()


def until(ask: Callable[[], T], *, seconds: float = 60.0) -> T:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds:.0f} s"
        threading.Event().wait(0.05)
