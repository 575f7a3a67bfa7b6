"""A service told to end finishes what it has in hand; one that fails says why in one line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

import httpx

from local import ports
from tests.mesh import until

SERVICE = """
import asyncio
from functools import partial
from fastapi import APIRouter
from libs.common.http import application
from libs.common.service import Health, run, serve
from libs.common.settings import ServiceSettings

router, asked, answer = APIRouter(), asyncio.Event(), asyncio.Event()

@router.get("/slow")
async def slow():
    asked.set()
    await answer.wait()
    return {"answered": True}

@router.get("/asked")
async def was_asked():
    return asked.is_set()

async def batch(stopping):
    await stopping.wait()
    print("finishing the batch in hand", flush=True)
    answer.set()

async def broken(stopping):
    raise RuntimeError("the state is in doubt")

async def ends(stopping):
    return

async def main(settings):
    health = Health()
    health.part("batch").ready()
    await serve(settings, application("test", health, router), {"loop": LOOP})

settings = ServiceSettings.from_environment()
run("test", settings, partial(main, settings))
"""


@contextmanager
def service(loop: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    port = ports.free()["ingest"]
    env = os.environ | {
        "SEXTANT_KAFKA": "none:1", "SEXTANT_DATABASE": "postgresql://none", "SEXTANT_REDIS": "redis://none",
        "SEXTANT_REGISTRY": "http://none", "SEXTANT_PORT": str(port), "SEXTANT_HOST": "127.0.0.1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE.replace("LOOP", loop)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_on_sigterm_the_batch_is_finished_the_request_answered_and_the_exit_clean() -> None:
    answers: list[httpx.Response] = []
    with service("batch") as (process, url):
        until(lambda: is_live(url))
        asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/slow", trust_env=False)))
        asking.start()
        until(lambda: httpx.get(f"{url}/asked", trust_env=False).json())
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        asking.join()
    assert [answer.json() for answer in answers] == [{"answered": True}]
    assert process.returncode == 0
    assert "finishing the batch in hand" in output
    assert json.loads(output.splitlines()[-1])["event"] == "stopped"


def test_a_loop_that_fails_ends_the_process_with_the_reason_in_one_json_line() -> None:
    with service("broken") as (process, _):
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    last = json.loads(output.splitlines()[-1])
    assert last["level"] == "error"
    assert "the state is in doubt" in last["exception"]


def test_a_loop_that_ends_by_itself_is_a_failure_too() -> None:
    with service("ends") as (process, _):
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "loop loop ended by itself" in output
