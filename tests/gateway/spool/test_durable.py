"""Small files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.spool.durable import boot_id, write_durably


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    """What is written stands under its name, and no temporary file stays beside it."""
    write_durably(tmp_path / "a.cut", b"text")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.cut", b"text")]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """If the new content cannot be written, the file keeps its old one."""
    (tmp_path / "a.cut").write_bytes(b"old")
    (tmp_path / "a.cut.tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_durably(tmp_path / "a.cut", b"new")
    assert (tmp_path / "a.cut").read_bytes() == b"old"


def test_a_machine_knows_its_boot() -> None:
    """Where the system tells it, every process of this run of the machine is given the same text."""
    assert boot_id() == boot_id()
    assert bool(boot_id()) == Path("/proc/sys/kernel/random/boot_id").exists()
