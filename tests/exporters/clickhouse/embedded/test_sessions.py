"""Sessions over HTTP: what session_id keeps between requests, for whom, and for how long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from exporters.clickhouse.embedded.errors import ClickHouseError
from exporters.clickhouse.embedded.sessions import Sessions
from tests.exporters.clickhouse.embedded.server import until

if TYPE_CHECKING:
    from tests.exporters.clickhouse.embedded.server import Server


class Connection:
    """Stands for what a session holds."""


def test_a_temporary_table_lasts_as_long_as_its_session(server: Server) -> None:
    """A session's table is there in its later requests, in no other session, and gone when it is closed."""
    for sql in ("CREATE TEMPORARY TABLE mine (a UInt8)", "INSERT INTO mine VALUES (1), (2)"):
        assert server.ask(sql, "writer", session_id="one").status == 200
    assert server.ask("SELECT sum(a) FROM mine", "writer", session_id="one").body == b"3\n"
    assert server.ask("SELECT sum(a) FROM mine", "writer", session_id="two").code == 60
    assert server.ask("SELECT sum(a) FROM mine", "admin", session_id="one").code == 60
    assert server.ask("SELECT 1", "writer", session_id="one", close_session="1").status == 200
    assert server.ask("SELECT sum(a) FROM mine", "writer", session_id="one").code == 60


@pytest.mark.parametrize("user", ["ann", "writer", "admin"])
def test_set_and_use_last_for_the_session(server: Server, user: str) -> None:
    """SET and USE hold in later requests; the URL's settings hold for their request, and then SET's again."""
    session = {"session_id": f"settings-of-{user}"}
    what = "SELECT getSetting('max_threads'), currentDatabase()"
    for sql in ("SET max_threads = 3", "USE shop"):
        assert server.ask(sql, user, **session).status == 200
    assert server.ask(what, user, **session).body == b"3\tshop\n"
    assert server.ask(what, user, **session, max_threads="1", database="system").body == b"1\tsystem\n"
    assert server.ask(what, user, **session).body == b"3\tshop\n"
    assert server.ask("SET max_threads = DEFAULT", user, **session).status == 200
    untouched = server.ask(what, user).body.split(b"\t")[0]
    assert server.ask(what, user, **session).body == untouched + b"\tshop\n"


def test_a_passing_setting_does_not_stay_in_a_session(server: Server) -> None:
    """A setting of one request's URL is back at its default in the session's next."""
    session = {"session_id": "passing"}
    assert server.ask("SELECT getSetting('max_block_size')", "admin", **session, max_block_size="7").body == b"7\n"
    assert server.ask("SELECT getSetting('max_block_size')", "admin", **session).body != b"7\n"


def test_a_parameter_is_gone_with_its_request(server: Server) -> None:
    """What one request of a session gave as a parameter is unknown to the next."""
    session = {"session_id": "parameters"}
    assert server.ask("SELECT {x:String}", "admin", **session, param_x="here").body == b"here\n"
    assert server.ask("SELECT {x:String}", "admin", **session).code == 456


def test_readonly_does_not_lock_a_session(server: Server) -> None:
    """A session cannot set readonly for good; a request's readonly holds for it alone."""
    session = {"session_id": "readonly"}
    assert server.ask("SET readonly = 1", "writer", **session).code == 164
    assert server.ask("INSERT INTO shop.t SELECT 1 WHERE 0", "writer", **session, readonly="1").code == 164
    assert server.ask("INSERT INTO shop.t SELECT 1 WHERE 0", "writer", **session).status == 200


def test_a_session_must_be_there_if_that_is_asked(server: Server) -> None:
    """session_check refuses to begin a session."""
    answer = server.ask("SELECT 1", session_id="unheard-of", session_check="1")
    assert (answer.code, "unheard-of" in answer.text) == (372, True)


def test_a_session_answers_one_request_at_a_time(server: Server) -> None:
    """A second request to a busy session is refused, and the session goes on."""
    session = {"session_id": "busy"}
    slow = "SELECT count() FROM numbers(1000000000000) WHERE number % 7"
    first = threading.Thread(target=server.ask, args=(slow,), kwargs={"query_id": "in-session", **session})
    first.start()
    running = "SELECT count() FROM system.processes WHERE startsWith(query, 'SELECT count() FROM numbers')"
    until(lambda: server.ask(running, "admin").body == b"1\n")
    assert server.ask("SELECT 1", **session).code == 373
    server.ask("KILL QUERY WHERE query_id = 'in-session' SYNC")
    first.join()
    assert server.ask("SELECT 1", **session).body == b"1\n"


@pytest.mark.parametrize("timeout", ["-1", "soon", "3601", "1.5"])
def test_a_sessions_time_is_whole_seconds_up_to_an_hour(server: Server, timeout: str) -> None:
    """Another timeout is refused with what it must be."""
    answer = server.ask("SELECT 1", session_id="timed", session_timeout=timeout)
    assert (answer.code, "3600" in answer.text) == (374, True)


def test_a_session_ends_when_its_time_is_over() -> None:
    """A session that is not used for its timeout is forgotten, with its connection; a busy one is not."""
    now = 100.0
    sessions = Sessions(lambda: now)
    idle = sessions.acquire("ann", {"session_id": "idle", "session_timeout": "10"})
    busy = sessions.acquire("ann", {"session_id": "busy"})
    assert idle is not None
    assert busy is not None
    connection = idle.connection = Connection()
    assert sessions.release(idle, close=False) is None
    now = 109.9
    assert sessions.expired() == []
    now = 1000.0
    assert sessions.expired() == [connection]
    assert len(sessions) == 1


def test_there_are_only_so_many_sessions() -> None:
    """One session too many is refused with what to do."""
    sessions = Sessions(lambda: 0.0)
    for number in range(200):
        sessions.acquire("ann", {"session_id": str(number)})
    assert sessions.acquire("writer", {"session_id": "of another user"}) is not None
    with pytest.raises(ClickHouseError, match="close_session=1"):
        sessions.acquire("ann", {"session_id": "one too many"})
