"""Fixtures for all tests: one real ClickHouse engine for the whole run, and a database of its own for each test."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.ports import free_port

# A deadline would measure the machine: what is slow here is slow for other reasons.
hypothesis.settings.register_profile("tollgate", deadline=None)
hypothesis.settings.load_profile("tollgate")

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_INTERVAL = 0.02


def _run(url: str, sql: str) -> bytes:
    with urllib.request.urlopen(url, data=sql.encode(), timeout=_START_SECONDS) as response:
        body: bytes = response.read()
        return body


@pytest.fixture(scope="session", name="free_port")
def _free_port() -> Callable[[], int]:
    """A function that gives a TCP port of 127.0.0.1 which nothing listens on."""
    return free_port


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ClickHouse that lasts for the whole run: TOLLGATE_TEST_CLICKHOUSE_URL, or an embedded one."""
    given = os.environ.get("TOLLGATE_TEST_CLICKHOUSE_URL")
    if given:
        yield given.rstrip("/")
        return
    directory = tmp_path_factory.mktemp("clickhouse")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    place = ["--path", str(directory / "data"), "--port", str(port), "--exit-with-stdin"]
    log = directory / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "exporters.clickhouse.embedded", *place], stdin=subprocess.PIPE, stderr=stderr
        ) as child,
    ):
        try:
            _wait_until_it_answers(child, url, log)
            yield url
        finally:
            child.terminate()
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_until_it_answers(child: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            _run(url, "SELECT 1")
            return
        time.sleep(_INTERVAL)
    pytest.fail(f"the embedded ClickHouse does not answer: {log.read_text()}")


@pytest.fixture
def clickhouse_database(clickhouse_url: str) -> Iterator[str]:
    """The name of a database made for one test and dropped after it."""
    name = f"test_{uuid.uuid4().hex}"
    _run(clickhouse_url, f"CREATE DATABASE {name}")
    yield name
    _run(clickhouse_url, f"DROP DATABASE {name}")
