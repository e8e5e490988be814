"""The watch over a disk's free space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge
from structlog.testing import capture_logs

from gateway.disk_watch import DiskWatch

if TYPE_CHECKING:
    from pathlib import Path

MUCH = 1 << 62


def test_a_disk_with_too_little_room_is_logged_once(tmp_path: Path) -> None:
    """The gauge shows the free bytes, and the log tells once, with what to do, that they are too few."""
    gauge = Gauge("free", "", registry=CollectorRegistry())
    watch = DiskWatch(tmp_path, MUCH, gauge, "test")
    with capture_logs() as logs:
        watch.look()
        watch.look()
    assert gauge._value.get() > 0
    (line,) = logs
    assert (line["log_level"], line["min_free_bytes"]) == ("error", MUCH)
    assert "free space" in line["event"]


def test_room_again_is_logged_too(tmp_path: Path) -> None:
    """A disk that has room again after it was nearly full is said to have it."""
    watch = DiskWatch(tmp_path, 0, Gauge("free", "", registry=CollectorRegistry()), "test")
    watch.is_low = True
    with capture_logs() as logs:
        watch.look()
        watch.look()
    assert [(line["event"], line["whose"]) for line in logs] == [("a disk has room again", "test")]


def test_a_directory_that_is_gone_is_no_end(tmp_path: Path) -> None:
    """What cannot be looked at is logged, and looked at again later."""
    watch = DiskWatch(tmp_path / "gone", 0, Gauge("free", "", registry=CollectorRegistry()), "test")
    with capture_logs() as logs:
        watch.look()
    assert [line["log_level"] for line in logs] == ["warning"]
