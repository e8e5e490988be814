"""Opens the state database: an SQLAlchemy engine whose tables exist and have the version this Tollgate knows.

SQLite by default, with what makes it durable, private and safe under several processes; any other URL is left to its
own server's settings.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from state.tables import SCHEMA_VERSION, metadata, schema_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

_BUSY_TIMEOUT_MS = 10_000
_OWNER_ONLY = 0o600


class StateError(Exception):
    """The state database cannot be used; the message says why and what to do, and never holds the URL's password."""


def open_database(url: str) -> Engine:
    """An engine for `url`, with its tables made if they were missing. The caller disposes of it."""
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, connect_args=_connect_arguments(parsed), hide_parameters=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StateError(f"service::state::url: its database driver is missing: {error}; install it") from None
    except ArgumentError:
        raise StateError("service::state::url: is not an SQLAlchemy URL; write sqlite:///path/to/state.db") from None
    where = parsed.render_as_string(hide_password=True)
    try:
        with _prepared_file(engine) if engine.dialect.name == "sqlite" else nullcontext():
            _prepare_tables(engine, where)
    except OSError as error:
        engine.dispose()
        raise StateError(f"{where}: cannot be opened: {error.strerror}; check the path and its permissions") from error
    except DBAPIError as error:
        engine.dispose()
        raise StateError(f"{where}: cannot be used: {error.orig}") from error
    except StateError:
        engine.dispose()
        raise
    return engine


def _connect_arguments(url: URL) -> dict[str, object]:
    if url.get_backend_name() != "sqlite":
        return {}
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        # In memory, each connection would have keys of its own.
        raise StateError("service::state::url: SQLite needs a plain file; write sqlite:///path/to/state.db")
    return {"timeout": _BUSY_TIMEOUT_MS / 1000}


def _prepared_file(engine: Engine) -> AbstractContextManager[None]:
    path = Path(str(engine.url.database))
    path.parent.mkdir(parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the mode of the database file, so the mode is set before they exist.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _OWNER_ONLY))
    path.chmod(_OWNER_ONLY)
    event.listen(engine, "connect", _set_up_connection)
    return _locked(path.with_name(f"{path.name}.lock"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time: a change to WAL mode does not wait for others as ordinary statements do."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _set_up_connection(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer
    cursor.execute("PRAGMA synchronous = FULL")  # a revoked key stays revoked after a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _prepare_tables(engine: Engine, where: str) -> None:
    metadata.create_all(engine, tables=[schema_version])
    found = _stored_version(engine)
    if found is None:
        try:
            with engine.begin() as connection:
                connection.execute(insert(schema_version).values(id=1, version=SCHEMA_VERSION))
        except IntegrityError:
            pass  # another process was first; its version is checked below
        found = _stored_version(engine)
    if found != SCHEMA_VERSION:
        raise StateError(
            f"{where}: has schema version {found}, this Tollgate knows {SCHEMA_VERSION}; "
            "run the Tollgate that wrote it or a newer one, or point service::state::url elsewhere"
        )
    metadata.create_all(engine)


def _stored_version(engine: Engine) -> int | None:
    with engine.connect() as connection:
        return connection.scalar(select(schema_version.c.version))
