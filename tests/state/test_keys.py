"""API keys: made once, shown once, listed, revoked, expired, and shared by several processes."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

import state
from state import KeyNotFoundError, KeyStore, hash_key, open_database
from state.keys import _ALPHABET, _format_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """The time it was set to."""
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A state database of the test's own."""
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The database, opened."""
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture
def store(engine: Engine, clock: Clock) -> KeyStore:
    """The store under test."""
    return KeyStore(engine, clock=clock)


def test_a_key_is_shown_once_and_recognised_by_its_hash(store: KeyStore, tmp_path: Path) -> None:
    """The store gives the key to its creator and keeps nothing it could be rebuilt from."""
    made, key = store.create("default", "laptop")
    assert re.fullmatch(r"tg_[0-9A-Za-z]{43}", key)
    assert re.fullmatch(r"key_[a-z2-7]{8}", made.id)
    assert (made.destination, made.label, made.prefix) == ("default", "laptop", key[:8])
    assert (made.created_at, made.expires_at, made.revoked_at) == (NOW, None, None)
    assert store.active_hashes() == {hash_key(key): "default"}
    assert store.list() == [made]
    assert not [path for path in tmp_path.iterdir() if key.encode() in path.read_bytes()]


def test_keys_are_listed_by_destination_oldest_first(store: KeyStore, clock: Clock) -> None:
    """All keys are listed, or those of one destination."""
    first, _ = store.create("a")
    clock.now += timedelta(seconds=1)
    second, _ = store.create("b")
    clock.now += timedelta(seconds=1)
    third, _ = store.create("a")
    assert store.list() == [first, second, third]
    assert store.list("a") == [first, third]
    assert store.list("c") == []


def test_a_revoked_key_stays_revoked_and_listed(store: KeyStore, clock: Clock) -> None:
    """Revoking ends a key at once; doing it again keeps the first time."""
    made, key = store.create("a")
    _, other = store.create("a")
    clock.now += timedelta(minutes=1)
    revoked = store.revoke(made.id)
    assert revoked.revoked_at == NOW + timedelta(minutes=1)
    clock.now += timedelta(minutes=1)
    assert store.revoke(made.id) == revoked
    assert store.active_hashes() == {hash_key(other): "a"}
    assert revoked in store.list()
    assert hash_key(key) not in store.active_hashes()


def test_a_key_expires_on_time(store: KeyStore, clock: Clock) -> None:
    """A key works before its expiry and not from then on, whatever zone the expiry was given in."""
    expiry = (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    made, key = store.create("a", expires_at=expiry)
    assert made.expires_at == expiry
    assert store.list() == [made]
    clock.now = NOW + timedelta(minutes=59, seconds=59, microseconds=999_999)
    assert store.active_hashes() == {hash_key(key): "a"}
    clock.now = NOW + timedelta(hours=1)
    assert store.active_hashes() == {}


def test_unusable_expiries_and_labels_are_refused(store: KeyStore) -> None:
    """Each is refused with its remedy, and makes no key."""
    for expiry, sentence in (
        (NOW, "the expiry 2026-01-02T03:04:05.678901+00:00 is already past; choose a later one"),
        (NOW.replace(tzinfo=None), "the expiry has no time zone; add one, such as +00:00"),
    ):
        with pytest.raises(ValueError) as caught:
            store.create("a", expires_at=expiry)
        assert str(caught.value) == sentence
    for label in ("x" * 201, "a\nb", "\x1b[31m"):
        with pytest.raises(ValueError, match="a label is one line of at most 200 printable characters"):
            store.create("a", label)
    assert store.list() == []


def test_revoking_an_unknown_key_says_where_ids_are_found(store: KeyStore) -> None:
    """A wrong id is answered with the way to the right one; a key given by mistake is not repeated."""
    with pytest.raises(KeyNotFoundError) as caught:
        store.revoke("key_aaaaaaaa")
    assert str(caught.value) == 'no key has the id "key_aaaaaaaa"; `tollgate keys list` shows the ids'
    _, key = store.create("a")
    with pytest.raises(KeyNotFoundError) as caught:
        store.revoke(key)
    assert str(caught.value) == (
        "this is a key, not the id of one; `tollgate keys list` shows the ids, which begin with key_"
    )


def test_an_id_that_is_taken_is_drawn_again(engine: Engine, clock: Clock) -> None:
    """Two keys never share an id; randomness that always repeats is an error, not an endless loop."""
    draws = iter([b"k" * 32, b"aaaaa", b"l" * 32, b"aaaaa", b"bbbbb"])
    store = KeyStore(engine, clock=clock, token_bytes=lambda size: next(draws)[:size])
    first, _ = store.create("a")
    second, _ = store.create("a")
    assert first.id != second.id
    with pytest.raises(IntegrityError):
        KeyStore(engine, clock=clock, token_bytes=lambda size: b"k" * size).create("a")


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_the_same_length(random: bytes) -> None:
    """32 random bytes always fit 43 base62 digits, and the key still holds all of them."""
    key = _format_key(random)
    assert len(key) == 46
    number = 0
    for digit in key.removeprefix("tg_"):
        number = number * 62 + _ALPHABET.index(digit)
    assert number.to_bytes(32, "big") == random


@given(st.text(st.characters()) | st.text())
def test_any_text_can_be_looked_up(key: str) -> None:
    """Whatever a header holds has a hash."""
    assert len(hash_key(key)) == 32


def test_the_hash_is_plain_sha_256() -> None:
    """The digest is the one that any other tool computes."""
    assert hash_key("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


CREATE_FIVE_KEYS = """
import sys
from datetime import UTC, datetime
from state import KeyStore, open_database
store = KeyStore(open_database(sys.argv[1]), clock=lambda: datetime.now(tz=UTC))
for _ in range(5):
    store.create("a")
"""


def test_several_processes_share_the_keys(url: str) -> None:
    """Processes that start at the same moment all open the database, and none loses a key."""
    root = Path(state.__file__).parent.parent
    command = [sys.executable, "-c", CREATE_FIVE_KEYS, url]
    processes = [subprocess.Popen(command, cwd=root) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    engine = open_database(url)
    assert len(KeyStore(engine, clock=lambda: NOW).active_hashes()) == 20
    engine.dispose()


def test_threads_share_the_store(store: KeyStore) -> None:
    """The store may be used from any thread, while others read."""
    threads = [threading.Thread(target=store.create, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(store.active_hashes()) <= 8
    assert len(store.active_hashes()) == 8
