"""The supervisor of the embedded ClickHouse, with real child processes that are really killed."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from exporters.clickhouse.embedded import EmbeddedClickHouse, EmbeddedError
from tests.end_to_end.harness import is_running

SECONDS = 20.0
PARENT = """
import asyncio, pathlib, sys
from exporters.clickhouse.embedded import EmbeddedClickHouse

async def main():
    clickhouse = EmbeddedClickHouse(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]))
    await clickhouse.start()
    print(clickhouse.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def ask(clickhouse: EmbeddedClickHouse, sql: str) -> str:
    """Run a query and return the body of its response."""
    async with aiohttp.ClientSession() as session, session.post(clickhouse.url, data=sql) as response:
        return await response.text()


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that has no event, for a bounded time."""
    async with asyncio.timeout(SECONDS):
        while not happened():  # noqa: ASYNC110 -- another process's end sets no event here
            await asyncio.sleep(0.01)


@pytest.fixture
async def restarted() -> asyncio.Queue[int]:
    """What on_restart was called with."""
    return asyncio.Queue()


@pytest.fixture
async def clickhouse(
    tmp_path: Path, free_port: Callable[[], int], restarted: asyncio.Queue[int]
) -> AsyncIterator[EmbeddedClickHouse]:
    """A started one, stopped after the test."""
    made = EmbeddedClickHouse(tmp_path / "data", port=free_port(), on_restart=restarted.put_nowait)
    await made.start()
    yield made
    await made.stop()


async def test_a_killed_child_is_started_again_with_its_data(
    clickhouse: EmbeddedClickHouse, restarted: asyncio.Queue[int]
) -> None:
    """After kill -9 the child comes back by itself, and every stored row with it."""
    await ask(clickhouse, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS fsync_after_insert = 1")
    await ask(clickhouse, "INSERT INTO t SELECT number FROM numbers(1000)")
    killed = clickhouse.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(SECONDS):
        assert await restarted.get() == 1
    assert (clickhouse.restarts, clickhouse.pid != killed) == (1, True)
    assert await ask(clickhouse, "SELECT count() FROM t") == "1000\n"


async def test_stop_ends_the_child_and_frees_the_port(clickhouse: EmbeddedClickHouse) -> None:
    """After stop nothing runs or listens, and start works again on the same directory."""
    await ask(clickhouse, "CREATE DATABASE kept")
    pid = clickhouse.pid
    assert pid is not None
    await clickhouse.stop()
    assert (is_running(pid), clickhouse.pid) == (False, None)
    await clickhouse.start()
    assert await ask(clickhouse, "EXISTS DATABASE kept") == "1\n"
    assert clickhouse.restarts == 0


async def test_stop_lets_a_running_query_finish(clickhouse: EmbeddedClickHouse) -> None:
    """A query under way when stop is called still gets its answer."""
    slow = asyncio.create_task(ask(clickhouse, "SELECT sleep(1)"))
    async with asyncio.timeout(SECONDS):
        while await ask(clickhouse, "SELECT countIf(query LIKE 'SELECT sleep(1)%') FROM system.processes") != "1\n":
            pass
    await clickhouse.stop()
    assert await slow == "0\n"


async def test_a_port_in_use_is_named_with_its_setting(tmp_path: Path) -> None:
    """A taken port is found before anything is started, and the error says which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        clickhouse = EmbeddedClickHouse(tmp_path / "data", port=port)
        with pytest.raises(EmbeddedError, match=rf"127\.0\.0\.1:{port} .*exporters::clickhouse::embedded::endpoint"):
            await clickhouse.start()
    assert not (tmp_path / "data").exists()


async def test_others_are_served_with_passwords_only(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """On a host that others could reach, a user without a password keeps the server from starting."""
    clickhouse = EmbeddedClickHouse(tmp_path, "0.0.0.0", free_port())
    with pytest.raises(EmbeddedError, match=r"on 0\.0\.0\.0 .* every user needs a password: give one to default"):
        await clickhouse.start()
    assert clickhouse.pid is None


async def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Where there can be no directory, the error names it."""
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="file/data"):
        await EmbeddedClickHouse(tmp_path / "file" / "data", port=free_port()).start()


async def test_a_directory_in_use_is_refused(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A second engine on a directory waits for the first to end, and then says who has it."""
    port = str(free_port())
    place = ["--path", str(tmp_path / "data"), "--port", port, "--lock-timeout", "0"]
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exporters.clickhouse.embedded", *place, stderr=asyncio.subprocess.PIPE
    )
    _, said = await second.communicate()
    assert second.returncode == 1
    assert said.startswith(b"the directory ")
    assert b"is in use by another embedded ClickHouse" in said
    assert await ask(clickhouse, "SELECT 1") == "1\n"


async def test_without_the_engine_the_extra_is_named(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Where chdb is not installed, one line says what to install."""
    hidden = "import runpy, sys; sys.modules['chdb'] = None; "
    run = hidden + "runpy.run_module('exporters.clickhouse.embedded', None, '__main__')"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", run),
        *("--path", str(tmp_path), "--port", str(free_port())),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await child.communicate()
    assert (child.returncode, said) == (1, b"chdb is not installed: install the extra `embedded`\n")


async def test_the_child_ends_with_its_parent(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """When the parent is killed, the child ends by itself and gives the directory free."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), str(free_port()), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            while not (line := await parent.stdout.readline()).strip().isdigit():
                assert line, "the parent ended"
        child = int(line)
        assert is_running(child)
    finally:
        parent.kill()
        await parent.communicate()
    await until(lambda: not is_running(child))


async def test_the_working_directory_does_not_matter(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child starts anywhere, also where another `exporters` lies."""
    (tmp_path / "exporters").mkdir()
    (tmp_path / "exporters" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    clickhouse = EmbeddedClickHouse(Path("data"), port=free_port())
    await clickhouse.start()
    assert await ask(clickhouse, "SELECT 1") == "1\n"
    await clickhouse.stop()


async def test_a_child_that_hangs_is_killed_and_started_again(
    tmp_path: Path, free_port: Callable[[], int], restarted: asyncio.Queue[int]
) -> None:
    """A child that gives no sign of life twice in a row is replaced by one that answers."""
    clickhouse = EmbeddedClickHouse(
        tmp_path / "data", port=free_port(), on_restart=restarted.put_nowait, watch=(0.05, 1.0)
    )
    await clickhouse.start()
    try:
        hanging = clickhouse.pid
        assert hanging is not None
        os.kill(hanging, signal.SIGSTOP)
        async with asyncio.timeout(SECONDS):
            assert await restarted.get() == 1
        assert await ask(clickhouse, "SELECT 1") == "1\n"
    finally:
        await clickhouse.stop()


async def test_a_child_that_crashes_ends_at_once(clickhouse: EmbeddedClickHouse, restarted: asyncio.Queue[int]) -> None:
    """A fault in the engine's process ends it, so that it is started again without waiting for the watch."""
    assert clickhouse.pid is not None
    os.kill(clickhouse.pid, signal.SIGABRT)
    async with asyncio.timeout(SECONDS):
        assert await restarted.get() == 1
    assert await ask(clickhouse, "SELECT 1") == "1\n"
