"""CPU time and memory are those of a process and its descendants, but for those that are counted elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks.processes import Processes, thread_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A process and its child, which both wait."""
    command = ["sh", "-c", "tail -f /dev/null & echo $!; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        yield parent.pid, child
        for pid in (child, parent.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_descendants_are_counted_but_for_those_left_out(family: tuple[int, int]) -> None:
    """The gateway is all its workers, and not its ClickHouse."""
    parent, child = family
    assert sorted(Processes(parent).pids()) == sorted(family)
    assert Processes(parent, without=frozenset({child})).pids() == [parent]
    assert Processes(parent).resident_bytes() > Processes(child).resident_bytes() > 0


def test_the_cpu_time_of_a_process_that_ends_stays_counted() -> None:
    """A worker that is replaced does not make the sum smaller."""
    burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; read line"
    with subprocess.Popen(["sh", "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        processes = Processes(child.pid)
        before = processes.cpu_seconds()
    assert child.returncode is not None
    assert processes.cpu_seconds() == before > 0


def test_threads_are_told_one_by_one() -> None:
    """The main thread has the process's own number."""
    assert os.getpid() in thread_seconds(os.getpid())
