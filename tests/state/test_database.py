"""The state database: durable, private, guarded against other versions, and refused with a sentence."""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import StatementError

from state import StateError, open_database
from state.tables import api_keys, schema_version


def refusal(url: str) -> str:
    """The sentence that this URL is refused with."""
    with pytest.raises(StateError) as caught:
        open_database(url)
    return str(caught.value)


def test_every_connection_is_durable_and_waits_for_others(tmp_path: Path) -> None:
    """WAL with full synchronisation: what was committed survives a power cut, and a busy database is waited for."""
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert connection.scalar(text("PRAGMA synchronous")) == 2
            assert connection.scalar(text("PRAGMA busy_timeout")) == 10_000
    engine.dispose()


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    """The file and SQLite's companions are private from the start, and a file with a wider mode is narrowed."""
    path = tmp_path / "new" / "state.db"
    engine = open_database(f"sqlite:///{path}")
    with engine.connect():
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    engine.dispose()
    assert set(modes) >= {"state.db", "state.db-wal", "state.db-shm"}
    assert set(modes.values()) == {0o600}
    path.chmod(0o644)
    open_database(f"sqlite:///{path}").dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_schema_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A database of a newer Tollgate is not touched by an older one."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(update(schema_version).values(version=7))
    engine.dispose()
    assert refusal(url) == (
        f"{url}: has schema version 7, this Tollgate knows 1; run the Tollgate that wrote it or a newer one, "
        "or point service::state::url elsewhere"
    )


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Someone else's file is named, not overwritten."""
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 100)
    assert refusal(f"sqlite:///{path}") == f"sqlite:///{path}: cannot be used: file is not a database"
    assert path.read_bytes() == b"not a database" * 100


def test_a_path_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """A folder in the file's place, or a file in the folder's, is named with what the system says."""
    folder = f"sqlite:///{tmp_path}"
    assert refusal(folder) == f"{folder}: cannot be opened: Is a directory; check the path and its permissions"
    (tmp_path / "file").touch()
    below = f"sqlite:///{tmp_path / 'file' / 'state.db'}"
    assert refusal(below).startswith(f"{below}: cannot be opened: ")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"])
def test_sqlite_without_a_plain_file_is_refused(url: str) -> None:
    """A database in memory would lose the keys, and differ from connection to connection."""
    assert refusal(url) == "service::state::url: SQLite needs a plain file; write sqlite:///path/to/state.db"


def test_urls_that_lead_nowhere_are_refused_without_their_password() -> None:
    """A URL may hold a password, so no message repeats it."""
    assert refusal("hunter2") == ("service::state::url: is not an SQLAlchemy URL; write sqlite:///path/to/state.db")
    for url in ("nosuch://u:hunter2@db/x", "oracle+nosuch://u:hunter2@db/x"):
        message = refusal(url)
        assert message.startswith("service::state::url: its database driver is missing: ")
        assert "hunter2" not in message


def test_a_naive_time_is_never_stored(tmp_path: Path) -> None:
    """A time without a zone is a mistake of the program, not one in UTC."""
    engine = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.begin() as connection, pytest.raises(StatementError, match="a time needs a time zone"):
        connection.execute(
            insert(api_keys).values(
                id="a",
                destination="a",
                label="",
                prefix="",
                hash=b"",
                created_at=datetime.fromtimestamp(0),  # noqa: DTZ006
            )
        )
    engine.dispose()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """Opening and closing many times, also in vain, keeps no file descriptor."""
    path = tmp_path / "state.db"
    open_database(f"sqlite:///{path}").dispose()
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        open_database(f"sqlite:///{path}").dispose()
        refusal(f"sqlite:///{tmp_path}")
    assert len(list(Path("/dev/fd").iterdir())) == before
