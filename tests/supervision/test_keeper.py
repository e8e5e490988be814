"""A keeper: its child is started again when it dies, killed when it hangs, and ended with its owner."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from supervision import Keeper, StartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECONDS = 10


class Program:
    """A child process that sleeps until it is ended, and is alive as long as the test says so."""

    last_words = "good night"

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lives = True

    @classmethod
    async def launch(cls) -> Program:
        """Start one."""
        return cls(await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)"))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._process.wait()

    async def is_alive(self, timeout: float) -> bool:  # noqa: ASYNC109 - the interface's
        """What the test says."""
        del timeout
        return self.lives

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def end(self, timeout: float) -> None:  # noqa: ASYNC109 - likewise
        """End it."""
        del timeout
        self._process.terminate()
        await self.wait()


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Keeper[Program]]]:
    """Makes keepers that are stopped after the test."""
    made: list[Keeper[Program]] = []

    def make_one(launch: Callable[[], object] = Program.launch, **options: object) -> Keeper[Program]:
        made.append(Keeper("a program", launch, delays=(0.0, 0.01), watch=(0.01, 1.0), **options))
        return made[-1]

    yield make_one
    for keeper in made:
        await keeper.stop(SECONDS)


@pytest.fixture
def restarted() -> asyncio.Queue[int]:
    """The numbers of restarts that a keeper tells."""
    return asyncio.Queue()


async def test_a_child_that_dies_is_replaced(
    make: Callable[..., Keeper[Program]], restarted: asyncio.Queue[int]
) -> None:
    """After each death there is another child, and it is told how many there were."""
    keeper = make(on_restart=restarted.put_nowait)
    await keeper.start()
    for number in (1, 2, 3):
        child = keeper.child
        assert child is not None
        child.kill()
        async with asyncio.timeout(SECONDS):
            assert await restarted.get() == keeper.restarts == number
        assert keeper.child is not child


async def test_a_child_that_hangs_is_killed(
    make: Callable[..., Keeper[Program]], restarted: asyncio.Queue[int]
) -> None:
    """A child that gives no sign of life is killed and replaced."""
    keeper = make(on_restart=restarted.put_nowait)
    await keeper.start()
    child = keeper.child
    assert child is not None
    child.lives = False
    async with asyncio.timeout(SECONDS):
        assert await restarted.get() == 1
    assert await child.wait() == -9


async def test_a_child_that_does_not_start_is_tried_again(
    make: Callable[..., Keeper[Program]], restarted: asyncio.Queue[int]
) -> None:
    """At first a failed start is the caller's to know; later ones are tried until one succeeds."""
    outcomes = iter([True, StartError("there is no room"), OSError("no descriptors"), True])

    async def launch() -> Program:
        if isinstance(outcome := next(outcomes), Exception):
            raise outcome
        return await Program.launch()

    keeper = make(launch, on_restart=restarted.put_nowait)
    await keeper.start()
    assert keeper.child is not None
    keeper.child.kill()
    async with asyncio.timeout(SECONDS):
        assert await restarted.get() == 1
    failing = make(_fail)
    with pytest.raises(StartError):
        await failing.start()


async def _fail() -> Program:
    raise StartError("never")


async def test_what_fails_after_a_restart_stops_nothing(make: Callable[..., Keeper[Program]]) -> None:
    """A callback that raises costs a log line; the child is kept all the same."""
    told = asyncio.Event()

    def on_restart(_: int) -> None:
        told.set()
        raise ZeroDivisionError

    keeper = make(on_restart=on_restart)
    await keeper.start()
    for _ in range(2):
        told.clear()
        while keeper.child is None:  # noqa: ASYNC110 - it is set in another task of this loop
            await asyncio.sleep(0)
        keeper.child.kill()
        async with asyncio.timeout(SECONDS):
            await told.wait()


async def test_a_stopped_keeper_has_no_child(make: Callable[..., Keeper[Program]]) -> None:
    """Stopping ends the child and starts no other; it can be done twice, and without a start."""
    keeper = make()
    await keeper.stop(SECONDS)
    await keeper.start()
    child = keeper.child
    assert child is not None
    await keeper.stop(SECONDS)
    await keeper.stop(SECONDS)
    assert keeper.child is None
    assert await child.wait() == -15
