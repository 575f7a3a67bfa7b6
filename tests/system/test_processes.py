"""Processes outlive the command that started them, and only our own are ever ended."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from local.process import Process
from local.progress import Failed
from local.supervise import Keeper, keep

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)",
]


def test_a_process_is_found_again_by_its_pid_file_and_stopped(tmp_path: Path) -> None:
    pid = Process("sleeper", tmp_path).start(SLEEP)
    assert Process("sleeper", tmp_path).pid == pid
    assert Process("sleeper", tmp_path).stop()
    assert Process("sleeper", tmp_path).pid is None
    assert not Process("sleeper", tmp_path).stop()


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    process = Process("other", tmp_path)
    process.pid_file.parent.mkdir()
    process.pid_file.write_text(f"{os.getpid()} 1\n")
    assert process.pid is None
    assert not process.stop()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    process = Process("deaf", tmp_path)
    process.start(DEAF)
    process.wait_until(lambda: "deaf" in process.log.read_text())
    assert process.stop(seconds=0.2)
    assert process.pid is None


def test_a_process_that_ends_while_starting_says_why(tmp_path: Path) -> None:
    process = Process("broken", tmp_path)
    process.start([sys.executable, "-c", "raise SystemExit('Error: no such thing')"])
    with pytest.raises(Failed, match="no such thing"):
        process.wait_until(lambda: False)


def test_a_killed_service_is_started_again_and_counted(tmp_path: Path) -> None:
    keeper = Keeper(Process("sleeper", tmp_path), SLEEP, {})
    stopping = threading.Event()
    thread = threading.Thread(target=keep, args=(tmp_path, [keeper], stopping, time.monotonic))
    thread.start()
    try:
        keeper.process.wait_until(lambda: keeper.process.pid, alive=lambda: True)
        first = keeper.process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        keeper.process.wait_until(lambda: keeper.process.pid not in (None, first), alive=lambda: True)
        keeper.process.wait_until(lambda: keeper.restarts == 1, alive=lambda: True)
    finally:
        stopping.set()
        thread.join()
        keeper.process.stop(signal.SIGKILL)
