"""`tollgate keys`: a key is printed once, then listed and revoked by its id."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.cli.main import main
from state import KeyStore, hash_key, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory that the shipped settings are given; it is not there yet."""
    data = tmp_path / "made" / "data"
    monkeypatch.setenv("TOLLGATE_DATA", str(data))
    monkeypatch.delenv("TOLLGATE_API_KEY", raising=False)
    return data


@pytest.fixture
def store(data: Path) -> Iterator[KeyStore]:
    """The keys as a gateway sees them."""
    data.mkdir(parents=True)
    engine = open_database(f"sqlite:///{data / 'state.db'}")
    yield KeyStore(engine, clock=lambda: datetime.now(UTC))
    engine.dispose()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines that a command prints, which succeeds."""
    assert main(["keys", *words]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out.splitlines()


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command fails with."""
    assert main(["keys", *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line


def test_a_key_is_printed_alone_on_the_first_line(store: KeyStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A script takes the first line, a person reads the second; the gateway knows the key."""
    key, sentence = run(capsys, "create", "default", "--label", "openrouter")
    (made,) = store.list()
    assert store.active_hashes() == {hash_key(key): "default"}
    assert made.label == "openrouter"
    assert sentence == f"This is the key of {made.id}, for destination default. It is not shown again."


def test_the_first_command_makes_the_data_directory(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys may be made before the gateway ever ran."""
    run(capsys, "create", "default")
    assert (data / "state.db").exists()


def test_keys_are_listed_without_the_keys(store: KeyStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The list has a row a key with its state, and nothing of a key but its beginning."""
    active, key = store.create("default", "laptop")
    revoked, _ = store.create("team", "gone")
    store.revoke(revoked.id)
    early = KeyStore(store._engine, clock=lambda: datetime.now(UTC) - timedelta(days=2))
    expired, _ = early.create("default", expires_at=datetime.now(UTC) - timedelta(days=1))
    header, *lines = run(capsys, "list")
    assert header.split("  ")[0] == "ID"
    assert [re.split(r" {2,}", line) for line in lines] == [
        [made.id, made.destination, made.prefix, f"{made.created_at:%Y-%m-%d %H:%M}", *state]
        for made, state in ((expired, ["expired"]), (active, ["active", "laptop"]), (revoked, ["revoked", "gone"]))
    ]
    assert key not in "\n".join(lines)
    columns = [header.index(title) for title in ("ID", "DESTINATION", "BEGINS WITH", "CREATED (UTC)", "STATE", "LABEL")]
    assert all(lines[1][column - 1 : column] in {"", " "} and lines[1][column] != " " for column in columns)


def test_keys_of_one_destination_are_listed(store: KeyStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A destination's name leaves the others out; one without keys has only the header."""
    first, _ = store.create("default")
    store.create("team")
    _, line = run(capsys, "list", "default")
    assert line.startswith(first.id)
    assert len(run(capsys, "list", "nobody")) == 1


def test_a_key_is_revoked_by_its_id(store: KeyStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A revoked key is no longer good, and the answer says when a running gateway knows it."""
    made, _ = store.create("default")
    (line,) = run(capsys, "revoke", made.id)
    assert line == (f"{made.id} of destination default is revoked. A running gateway refuses it within about a second.")
    assert store.active_hashes() == {}


def test_a_destination_that_is_not_configured_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped destination is answered with those there are, and nothing is made."""
    assert fails(capsys, "create", "defualt") == (
        "tollgate: There is no destination 'defualt': add it under destinations, or use one of default."
    )
    assert not data.exists()


def test_a_label_that_cannot_be_kept_is_refused(store: KeyStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A label with a line break is one line of error, and makes no key."""
    assert fails(capsys, "create", "default", "--label", "a\nb") == (
        "tollgate: The key cannot be made: a label is one line of at most 200 printable characters; shorten it."
    )
    assert store.list() == []


@pytest.mark.usefixtures("store")
def test_an_id_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An id that is no key's is answered with where ids are shown."""
    assert fails(capsys, "revoke", "key_aaaaaaaa") == (
        'tollgate: no key has the id "key_aaaaaaaa"; `tollgate keys list` shows the ids'
    )


def test_settings_files_say_where_the_keys_are(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --config the keys are those of that file's data directory and destinations."""
    file = tmp_path / "tollgate.yaml"
    file.write_text(
        f"receivers: {{otlp: }}\nexporters: {{clickhouse: }}\ndestinations: {{team: }}\n"
        f"service: {{data_directory: '{tmp_path / 'other'}', "
        "pipelines: {traces: {receivers: [otlp], exporters: [clickhouse]}}}\n"
    )
    run(capsys, "create", "team", "--config", str(file))
    assert (tmp_path / "other" / "state.db").exists()
    assert not data.exists()


def test_a_state_database_that_cannot_be_read_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no database is one line of error, not a traceback."""
    data.mkdir(parents=True)
    (data / "state.db").write_bytes(b"no database" * 100)
    assert fails(capsys, "list").startswith("tollgate: sqlite:///")


def test_a_data_directory_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the data directory's place is one line of error, not a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOLLGATE_DATA", str(tmp_path / "file"))
    assert fails(capsys, "list").startswith("tollgate: ")
