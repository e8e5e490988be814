"""The wall around the process: what it may open, and what not, whatever asks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CONFINED = """
import pathlib, sys, threading
from exporters.clickhouse.embedded.sandbox import confine

inside, outside = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
if not confine([inside]):
    sys.exit(77)

def tried(action):
    try:
        action()
    except PermissionError:
        return "refused"
    return "done"

found = []
def act():
    found.append(tried(lambda: (inside / "new").write_text("x")))
    found.append(tried(lambda: (inside / "new").rename(inside / "renamed")))
    found.append(tried(lambda: (outside / "secret").read_text()))
    found.append(tried(lambda: (outside / "new").write_text("x")))
    found.append(tried(lambda: (outside / "secret").unlink()))
    found.append(tried(lambda: list(outside.iterdir())))
    found.append(tried(lambda: __import__("this")))
thread = threading.Thread(target=act)
thread.start()
thread.join()
print(*found)
"""


def test_a_confined_process_stays_in_its_directories(tmp_path: Path) -> None:
    """It reads and writes within, reads Python's own files, and nothing else, in threads started later too."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED, str(inside), str(outside)], capture_output=True, text=True, check=False
    )
    if ran.returncode == 77:
        pytest.skip("this system has no Landlock, so only the engine's grants keep queries from files")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "done done refused refused refused refused done"
    assert (outside / "secret").read_text() == "secret"
