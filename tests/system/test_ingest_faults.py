"""Whatever ingest stands on goes away under load: it answers or refuses aloud, and the books are exact afterwards."""

import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common import clock
from local import kafka, ports
from local import servers as local_servers
from local.process import Process
from tests.backing import fresh_database
from tests.ingests import Ingest, Sender, compare, pushing, running
from tests.mesh import until

CONFIRM = 3
"""Seconds in which the brokers confirm, or the answer is 503."""


@dataclass
class Stack:
    """Servers of our own, that may be killed."""

    home: Path
    addresses: dict[str, str]
    ports: ports.Ports

    def kill(self, *names: str) -> None:
        for name in names:
            Process(name, self.home).stop(signal.SIGKILL)


@pytest.fixture
def stack(tmp_path: Path) -> Generator[Stack]:
    if local_servers.given():
        pytest.skip("these servers are somebody else's")
    numbers = ports.free()
    try:
        yield Stack(tmp_path, local_servers.up(tmp_path, numbers), numbers)
    finally:
        local_servers.down(tmp_path)


@contextmanager
def supervised(ingest: Ingest) -> Generator[list[int]]:
    """Started again whenever it ends by itself; with what it ended."""
    stopping, ended = threading.Event(), list[int]()

    def keep() -> None:
        while not stopping.wait(0.2):
            code = ingest.process.poll()
            if code is not None and ingest.mend():
                ended.append(code)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield ended
    finally:
        stopping.set()
        keeper.join()


def answers(senders: Sequence[Sender]) -> Counter[str]:
    return sum((sender.answers for sender in senders), Counter[str]())


def more(senders: Sequence[Sender], answer: str) -> Callable[[], bool]:
    """Whether that was answered since."""
    before = answers(senders)[answer]
    return lambda: answers(senders)[answer] > before


def refused(senders: Sequence[Sender]) -> Callable[[], bool]:
    """Whether anything was refused since for the sake of the brokers: its process may have ended by their error."""
    kinds = [more(senders, f"503 {code}") for code in ("brokers_away", "unconfirmed", "overloaded")]
    return lambda: any(kind() for kind in kinds)


def slowest(senders: Sequence[Sender]) -> float:
    return max(sender.slowest for sender in senders)


@pytest.mark.timeout(600)
def test_broker_killed_three_times_registry_and_redis_away(stack: Stack, tmp_path: Path) -> None:
    url, limit = stack.addresses["SEXTANT_DATABASE"], str(CONFIRM)
    with (
        fresh_database(url, "faults") as database,
        running(stack.addresses, "faults.", database, tmp_path, SEXTANT_CONFIRM_SECONDS=limit) as ingest,
        supervised(ingest) as ended,
    ):
        with pushing(ingest, 4, seed=5) as senders:
            until(more(senders, "200"))
            stack.kill("registry", "redis")
            until(more(senders, "200"))
            unread = ingest.push(b"\0\0\0\0\x07", "application/vnd.apache.avro")
            assert unread is not None
            assert (unread.status_code, unread.json()["code"]) == (503, "registry_away")
            for _ in range(3):
                stack.kill("kafka")
                until(more(senders, "503 brokers_away"))
                kafka.start(stack.home, stack.ports)
                until(more(senders, "200"))
            local_servers.up(stack.home, stack.ports)
            until(more(senders, "200"))
        compare(ingest.settings, senders)
        assert slowest(senders) < CONFIRM + 5
        assert len(ended) <= 3, f"it ended with {ended}"


@pytest.mark.timeout(300)
def test_started_while_the_broker_is_away_it_refuses_until_it_is_there(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    numbers = ports.free()
    own = {**servers, "SEXTANT_KAFKA": kafka.start(tmp_path, numbers)}
    try:
        with running(own, namespace, database, tmp_path) as ingest:
            Process("kafka", tmp_path).stop(signal.SIGKILL)
            ingest.kill()
            refused = until(lambda: ingest.push(b"[]"))
            assert refused is not None
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            kafka.start(tmp_path, numbers)
            until(lambda: (answer := ingest.push(b"[]")) is not None and answer.status_code == 200)
            assert not ingest.mend(), "it ended"
    finally:
        Process("kafka", tmp_path).stop()


@pytest.mark.timeout(300)
def test_the_broker_s_disk_full(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    """A broker that cannot write ends by itself; with room again it goes on."""
    numbers, limit = ports.free(), str(CONFIRM)
    with disk(tmp_path / "kafka") as folder:
        own = {**servers, "SEXTANT_KAFKA": kafka.start(tmp_path, numbers)}
        with (
            running(own, namespace, database, tmp_path, SEXTANT_CONFIRM_SECONDS=limit) as ingest,
            supervised(ingest) as ended,
        ):
            with pushing(ingest, 4, seed=6) as senders:
                until(more(senders, "200"))
                fill(folder / "filler")
                until(lambda: Process("kafka", tmp_path).pid is None, seconds=120)
                until(refused(senders))
                (folder / "filler").unlink()
                kafka.start(tmp_path, numbers)
                until(more(senders, "200"))
            compare(ingest.settings, senders)
            assert slowest(senders) < CONFIRM + 5
            assert len(ended) <= 1, f"it ended with {ended}"


@contextmanager
def disk(folder: Path) -> Generator[Path]:
    """A file system of 64 MiB and a broker in it, which is ended."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        Process("kafka", folder.parent).stop(signal.SIGKILL)
        until(lambda: subprocess.run(["umount", folder], capture_output=True).returncode == 0)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(64 * 1024))


@pytest.mark.timeout(300)
def test_twice_the_load_that_is_let_in(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    """Eight clients ask for twice the room that there is for one source."""
    with running(servers, namespace, database, tmp_path, SEXTANT_MAX_QUEUED="90") as ingest:
        with pushing(ingest, 8, seed=8) as senders:
            until(lambda: answers(senders)["200"] > 500 and answers(senders)["503 overloaded"] > 100)
        compare(ingest.settings, senders)
        assert set(answers(senders)) <= {"200", "503 overloaded", "cut"}
        assert not ingest.mend(), "it ended"


@pytest.mark.timeout(300)
def test_told_to_end_it_publishes_what_it_has_taken_and_ends_at_once(
    servers: dict[str, str], namespace: str, database: str, tmp_path: Path
) -> None:
    with running(servers, namespace, database, tmp_path) as ingest:
        with pushing(ingest, 4, seed=9) as senders:
            for _ in range(5):
                until(more(senders, "200"))
                began = clock.monotonic()
                assert ingest.stop() == 0
                assert clock.monotonic() - began < 10
                ingest.mend()
        compare(ingest.settings, senders)
        assert "did not drain in time" not in ingest.log.read_text()
