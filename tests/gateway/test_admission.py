"""Admission: what is in flight and what memory is used have bounds, and beyond them senders are told to try again."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admission import Admission, release_memory, resident_memory
from gateway.spool.room import Room
from gateway.telemetry.metrics import Metrics
from otlp.errors import RetryableError


class Memory:
    """Memory that uses what the test says."""

    def __init__(self) -> None:
        self.used = 0

    def __call__(self) -> int:
        """Bytes in use."""
        return self.used


@pytest.fixture
def memory() -> Memory:
    """The process's memory."""
    return Memory()


@pytest.fixture
def metrics() -> Metrics:
    """What is told of it."""
    return Metrics()


@pytest.fixture
def admission(memory: Memory, metrics: Metrics) -> Admission:
    """At most 100 bytes in flight, and 1000 of memory."""
    room = Room(1 << 40, 0, free_disk=lambda: 1 << 40)
    return Admission(capacity=100, memory_limit=1000, room=room, metrics=metrics, memory=memory)


def test_what_is_in_flight_is_bounded(admission: Admission) -> None:
    """Requests are admitted up to the capacity together; what ends makes room for others."""
    first, second = admission.admit(60), admission.admit(40)
    with pytest.raises(RetryableError, match="in flight"):
        admission.admit(1)
    first.release()
    first.release()
    admission.admit(60)
    with pytest.raises(RetryableError):
        second.resize(41)
    second.resize(40)
    second.resize(10)
    admission.admit(30)


def test_one_request_is_admitted_whatever_its_size(admission: Admission) -> None:
    """A request larger than the capacity is taken when nothing else is in flight, and keeps others out."""
    with admission.admit(500), pytest.raises(RetryableError):
        admission.admit(1)
    admission.admit(100)


def test_a_request_that_fails_gives_its_room_back(admission: Admission) -> None:
    """An error between admission and handing on leaves nothing in flight; what is handed on stays so."""
    with pytest.raises(ZeroDivisionError), admission.admit(100):
        raise ZeroDivisionError
    with admission.admit(100) as ticket:
        ticket.is_handed_on = True
    with pytest.raises(RetryableError):
        admission.admit(1)
    ticket.release()
    admission.admit(1)


def test_without_memory_only_one_request_is_admitted(admission: Admission, memory: Memory, metrics: Metrics) -> None:
    """Above the limit requests are refused while one is in flight: a process that cannot shrink still serves."""
    with admission.admit(10):
        memory.used = 1001
        assert admission.look()
        with pytest.raises(RetryableError, match="short of memory"):
            admission.admit(10)
        assert metrics.registry.get_sample_value("tollgate_memory_limited") == 1
    with admission.admit(10):
        memory.used = 1000
        assert not admission.look()
        admission.admit(10)
    assert metrics.registry.get_sample_value("tollgate_memory_limited") == 0
    assert metrics.registry.get_sample_value("tollgate_worker_memory_bytes") == 1000


async def test_too_much_memory_is_given_back(admission: Admission, memory: Memory) -> None:
    """The watch looks by itself, and has what is free given back to the system."""
    memory.used = 1001
    watch = asyncio.create_task(admission.run())
    async with asyncio.timeout(10):
        while not admission.look():  # noqa: ASYNC110 - it happens in another task
            await asyncio.sleep(0)
    watch.cancel()
    release_memory()
    assert 1 << 20 < resident_memory() < 1 << 40


def test_after_closing_nobody_is_admitted(admission: Admission) -> None:
    """At a shutdown senders are told to try again."""
    admission.close()
    with pytest.raises(RetryableError, match="shutting down"):
        admission.admit(1)
