"""The spool's bound: who is refused, why, and that it ends."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs

from gateway.spool.room import Room
from otlp.errors import RetryableError


class Disk:
    """A disk with so many free bytes."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self) -> int:
        """The free bytes."""
        return self.free


def test_there_is_room_below_the_bound() -> None:
    """Nobody is refused while less waits than the bound and the disk has its free space."""
    room = Room(1000, 100, free_disk=Disk(100))
    room.require()
    room.look(999)
    room.require()


def test_at_the_bound_senders_are_told_to_try_again() -> None:
    """At the bound the error says why and when; what is written between two looks counts at once."""
    room = Room(1000, 100, free_disk=Disk(10_000))
    room.look(900)
    room.took(100)
    with pytest.raises(RetryableError, match="ClickHouse has not taken") as error:
        room.require()
    assert error.value.delay >= 1
    room.look(999)
    room.require()


def test_a_disk_without_free_space_is_full() -> None:
    """With less free than is to stay free, senders are told to try again, until there is more."""
    disk = Disk(1000)
    room = Room(1 << 40, 100, free_disk=disk)
    room.look(0)
    room.took(901)
    with pytest.raises(RetryableError, match="too little free space"):
        room.require()
    room.look(901)
    room.require()
    disk.free = 99
    room.look(901)
    with pytest.raises(RetryableError):
        room.require()


def test_full_and_not_full_are_logged_once_and_shown() -> None:
    """The operator sees when it began, why, and when it ended."""
    gauge = Gauge("full", "", registry=CollectorRegistry())
    room = Room(10, 0, free_disk=Disk(0), is_full=gauge)
    with capture_logs() as logs:
        for waiting in (5, 15, 20, 5, 5):
            room.look(waiting)
            if waiting == 20:
                assert gauge._value.get() == 1
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert "ClickHouse has not taken" in logs[0]["why"]
    assert gauge._value.get() == 0


def test_a_disk_that_cannot_be_looked_at_counts_as_it_was() -> None:
    """An error of the disk is logged, and refuses nobody by itself."""

    def fail() -> int:
        raise OSError("gone")

    room = Room(10, 100, free_disk=fail)
    with capture_logs() as logs:
        room.look(0)
    room.require()
    assert "gone" in logs[0]["error"]
