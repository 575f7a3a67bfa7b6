"""A Flink session cluster: statements through its SQL gateway (REST v2), jobs through its own REST interface."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from libs.common.errors import TryLater

POLL_SECONDS = 0.1
ENDED = ("FINISHED", "CANCELED", "FAILED")


class Refused(Exception):
    """Flink does not take a statement; the message is its reason."""


@dataclass(frozen=True)
class Job:
    """A job of the cluster. `state` is Flink's: RUNNING, RESTARTING, FAILED, FINISHED …"""

    id: str
    name: str
    state: str
    started: int
    """ms"""


class Cluster:
    """TryLater where it does not answer."""

    def __init__(self, jobs: str, gateway: str) -> None:
        self.rest, self.gateway = (
            httpx.AsyncClient(base_url=url, trust_env=False) for url in (jobs, gateway)
        )

    async def close(self) -> None:
        await self.rest.aclose()
        await self.gateway.aclose()

    async def submit(self, name: str, statements: Sequence[str], settings: Mapping[str, str]) -> str:
        """Run the statements in a session of their own and return the id of the job that the last one starts."""
        properties = {**settings, "pipeline.name": name}
        session = (await self._ask("POST", "/v2/sessions", {"properties": properties}))["sessionHandle"]
        try:
            results: list[list[Any]] = []
            for statement in statements:
                results = await self._run(f"/v2/sessions/{session}", statement)
            return str(results[0][0])
        finally:
            await self._ask("DELETE", f"/v2/sessions/{session}")

    async def _run(self, session: str, statement: str) -> list[list[Any]]:
        answer = await self._ask("POST", f"{session}/statements", {"statement": statement})
        operation = f"{session}/operations/{answer['operationHandle']}"
        while True:
            status = (await self._ask("GET", f"{operation}/status"))["status"]
            if status not in ("INITIALIZED", "PENDING", "RUNNING"):
                break
            await asyncio.sleep(POLL_SECONDS)
        result = await self._ask("GET", f"{operation}/result/0?rowFormat=JSON")
        return [row["fields"] for row in result.get("results", {}).get("data", [])]

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = await self.gateway.send(
                self.gateway.build_request(method, path, json=body, timeout=120)
            )
        except httpx.TransportError as error:
            raise TryLater(f"the SQL gateway does not answer: {error!r}") from error
        answer = _read(response)
        if response.is_error:
            raise Refused(reason(answer.get("errors", [response.text])))
        return answer

    async def jobs(self) -> list[Job]:
        """All that the cluster knows of, the ended ones included."""
        answer = await self._jobs("GET", "/jobs/overview")
        return [Job(each["jid"], each["name"], each["state"], each["start-time"]) for each in answer["jobs"]]

    async def cancel(self, id: str) -> None:
        """What it has not committed is lost; its transactions are aborted."""
        await self._jobs("PATCH", f"/jobs/{id}?mode=cancel")

    async def fault(self, id: str) -> str:
        """The last reason for which a job failed or was started again; empty if there is none."""
        answer = await self._jobs("GET", f"/jobs/{id}/exceptions")
        entries = answer.get("exceptionHistory", {}).get("entries", [])
        return reason([entries[0]["stacktrace"]]) if entries else ""

    async def _jobs(self, method: str, path: str) -> dict[str, Any]:
        try:
            response = await self.rest.send(self.rest.build_request(method, path, timeout=30))
            response.raise_for_status()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            raise TryLater(f"the Flink cluster does not answer: {error!r}") from error
        return _read(response)


def _read(response: httpx.Response) -> dict[str, Any]:
    try:
        return response.json() if response.content else {}
    except ValueError as error:
        raise TryLater(f"{response.url} answered {response.status_code}, and not in JSON") from error


def reason(errors: Sequence[str]) -> str:
    """What a person needs of a Java stack trace: the innermost cause, in one line."""
    lines = [line.strip() for error in errors for line in str(error).splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or ["no reason given"])[-1 if causes else 0][:500]
