"""The gateway, as the command line talks to it."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

USUAL_SERVER = "http://127.0.0.1:8080"


class Unreachable(Exception):
    """The gateway does not answer, or refuses; the message is for people."""


def local() -> Path:
    """Where this machine's token and passwords lie."""
    return Path(os.environ.get("SEXTANT_LOCAL", ".local"))


def default_server() -> str:
    """The gateway of the stack that was last started here, else the usual address."""
    file = local() / "env"
    lines = file.read_text().splitlines() if file.exists() else []
    noted = dict(line.split("=", 1) for line in lines if "=" in line)
    return noted.get("SEXTANT_GATEWAY_URL", USUAL_SERVER)


def token() -> str | None:
    """SEXTANT_TOKEN, else what `sextant login` stored."""
    if found := os.environ.get("SEXTANT_TOKEN"):
        return found
    file = local() / "token"
    return file.read_text().strip() if file.exists() else None


Url = Annotated[
    str,
    typer.Option(
        "--server", envvar="SEXTANT_SERVER", default_factory=default_server, show_default="the one that runs here",
        help="The gateway's address.",
    ),
]  # fmt: skip


def fail(message: str) -> typer.Exit:
    print(message, file=sys.stderr)
    return typer.Exit(1)


class Server:
    """Calls of the public API. Raises Unreachable with the problem's title and detail."""

    def __init__(self, url: str, bearer: str | None = None) -> None:
        self.url = url.rstrip("/")
        bearer = bearer or token()
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        return self._answer("GET", path, params=parameters)

    def post(self, path: str, body: Any) -> Any:
        return self._answer("POST", path, json=body)

    def _answer(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} does not answer ({error}): make up, or give --server") from error
        try:
            body = response.json()
        except json.JSONDecodeError:
            body = {"title": response.reason_phrase, "detail": response.text[:200]}
        if response.is_success or "problems" in body:
            return body
        hint = ": sextant login" if body.get("code") == "unauthenticated" else ""
        raise Unreachable(f"{body.get('title', response.status_code)}: {body.get('detail', '')}{hint}")

    def sign_in(self, name: str, password: str) -> str:
        """A bearer token."""
        body = {"grant_type": "password", "username": name, "password": password}
        return self.post("/v1/token", body)["access_token"]
