"""Who may do what in the embedded ClickHouse, how a request says who it is, and what each user's queries may cost."""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING

import pytest

from exporters.clickhouse.embedded import Limits, Role, User, Users, hash_password
from exporters.clickhouse.embedded.errors import ClickHouseError
from exporters.clickhouse.embedded.users import Credentials
from tests.exporters.clickhouse.embedded.server import USERS, until

if TYPE_CHECKING:
    from tests.exporters.clickhouse.embedded.server import Server

WHO = "SELECT getSetting('chdb_client_name')"


def basic(name: str, password: str) -> dict[str, str]:
    """The header of Basic authorization."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_every_way_to_say_who_one_is_works(server: Server) -> None:
    """Headers, Basic authorization and URL parameters name a user; without any it is default."""
    for answer in (
        server.ask(WHO, headers={"X-ClickHouse-User": "ann", "X-ClickHouse-Key": "ann's"}),
        server.ask(WHO, headers=basic("ann", "ann's")),
        server.ask(WHO, user="ann", password="ann's"),
    ):
        assert '"user": "ann"' in answer.text, answer
    assert '"user": "default"' in server.ask(WHO).text


@pytest.mark.parametrize(
    ("headers", "parameters", "code", "status"),
    [
        ({"X-ClickHouse-User": "ann", "X-ClickHouse-Key": "wrong"}, {}, 516, 403),
        ({"X-ClickHouse-User": "ann"}, {}, 194, 401),
        ({"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": "x"}, {}, 516, 403),
        ({"X-ClickHouse-Key": "a password for default, who has none"}, {}, 516, 403),
        (basic("ann", "wrong"), {}, 516, 403),
        ({"Authorization": "Bearer ann"}, {}, 516, 403),
        ({"Authorization": "Basic ?"}, {}, 516, 403),
        (basic("ann", "ann's"), {"user": "ann"}, 516, 403),
        ({}, {"user": "ann", "password": "wrong"}, 516, 403),
        ({"Host": "rebound.example:8123"}, {}, 194, 401),
        ({"Sec-Fetch-Site": "cross-site"}, {}, 194, 401),
        ({"Sec-Fetch-Site": "same-site"}, {}, 194, 401),
        ({"Origin": "https://evil.example"}, {}, 194, 401),
        ({"Origin": "null"}, {}, 194, 401),
    ],
)
def test_who_is_not_known_runs_nothing(
    server: Server, headers: dict[str, str], parameters: dict[str, str], code: int, status: int
) -> None:
    """A wrong or missing password, mixed ways, and a foreign host name for a user without one are refused as such."""
    answer = server.ask(WHO, headers=headers, **parameters)
    assert (answer.code, answer.status) == (code, status), answer.text
    assert "wrong" not in answer.text
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_no_answer_is_taken_for_a_script(server: Server) -> None:
    """Browsers are told to take an answer for nothing but what it says it is."""
    assert server.ask("SELECT 1").headers["X-Content-Type-Options"] == "nosniff"
    assert server.ask("SELECT").headers["X-Content-Type-Options"] == "nosniff"


def test_users_see_no_others_queries(server: Server) -> None:
    """A reader sees neither others' running queries nor what errors quoted of ended ones; an admin sees both."""
    server.ask("SELECT 'secret of the admin' FROM nothing.nothing", "admin")
    assert server.ask("SELECT count() FROM system.errors", "ann").body == b"0\n"
    slow = "SELECT count() FROM numbers(1000000000000) WHERE number % 7 AND 'secret' != ''"
    thread = threading.Thread(target=server.ask, args=(slow, "admin"), kwargs={"query_id": "secret"})
    thread.start()
    running = (
        "SELECT countIf(query LIKE '%numbers(1000000000000)%' AND query NOT LIKE '%processes%') FROM system.processes"
    )
    until(lambda: server.ask(running, "admin").body == b"1\n")
    assert server.ask(running, "ann").body == b"0\n"
    assert "secret" not in server.ask("SHOW PROCESSLIST", "ann").text
    server.ask("KILL QUERY WHERE query_id = 'secret' SYNC", "admin")
    thread.join()


def test_a_foreign_host_name_is_no_matter_with_a_password(server: Server) -> None:
    """With a password a request may name the server as it likes."""
    headers = {"Host": "clickhouse.example:8123", "X-ClickHouse-User": "ann", "X-ClickHouse-Key": "ann's"}
    assert server.ask("SELECT 1", headers=headers).body == b"1\n"


@pytest.mark.parametrize(
    ("sql", "may"),
    [
        ("SELECT count() FROM shop.t", "reader writer admin"),
        ("SHOW TABLES FROM shop", "reader writer admin"),
        ("SHOW CREATE TABLE shop.t", "reader writer admin"),
        ("DESCRIBE TABLE shop.t", "reader writer admin"),
        ("EXISTS TABLE shop.t", "reader writer admin"),
        ("EXPLAIN indexes = 1 SELECT a FROM shop.t WHERE a > 3", "reader writer admin"),
        ("SHOW PROCESSLIST", "reader writer admin"),
        ("SET max_threads = 1", "reader writer admin"),
        ("SELECT 1 SETTINGS max_threads = 1", "reader writer admin"),
        ("INSERT INTO shop.t SELECT 1 WHERE 0", "writer admin"),
        ("INSERT INTO shop.t FORMAT CSV", "writer admin"),
        ("CREATE TEMPORARY TABLE mine (a UInt8)", "writer admin"),
        ("CREATE TABLE IF NOT EXISTS shop.other (a UInt8) ENGINE = Memory", "admin"),
        ("ALTER TABLE shop.t DELETE WHERE a = 1000", "admin"),
        ("OPTIMIZE TABLE shop.t", "admin"),
        ("SYSTEM FLUSH LOGS", "admin"),
        ("SELECT name FROM file('tollgate.lock', 'LineAsString', 'name String')", "admin"),
    ],
)
def test_each_role_may_do_what_it_is_for(server: Server, sql: str, may: str) -> None:
    """A reader reads, a writer also inserts, an admin may do all."""
    for user, role in (("default", "reader"), ("writer", "writer"), ("admin", "admin")):
        answer = server.ask(sql, user)
        if role in may.split():
            assert answer.status == 200, (user, answer.text)
        else:
            assert (answer.status, answer.code) == (403, 497), (user, answer.text)
            assert user in answer.text


def test_what_a_users_queries_may_cost(server: Server) -> None:
    """Memory, time and the result's size have limits, each with ClickHouse's own code."""
    for sql, parameters, code in (
        ("SELECT groupArray(number) FROM numbers(100000000)", {}, 241),
        ("SELECT count() FROM numbers(1000000000000) WHERE number % 7", {"max_execution_time": "0.2"}, 159),
        ("SELECT number FROM numbers(1000)", {"max_result_rows": "10"}, 396),
        ("SELECT number FROM numbers(1000) FORMAT JSON", {"max_result_bytes": "100"}, 396),
    ):
        assert server.ask(sql, "ann", **parameters).code == code, sql


@pytest.mark.parametrize("value", ["0", "200000001", "-1", "inf", "nan", "10G"])
def test_a_limit_can_only_be_lowered(server: Server, value: str) -> None:
    """A request may ask for less than the user's limit, in the URL or the query, never for more or for none."""
    assert server.ask("SELECT 1", "ann", max_memory_usage="1000000").body == b"1\n"
    for answer in (
        server.ask("SELECT 1", "ann", max_memory_usage=value),
        server.ask(f"SELECT 1 SETTINGS max_memory_usage = '{value}'", "ann"),
    ):
        assert (answer.code, "200000000" in answer.text) == (452, True), answer.text


def test_a_user_runs_a_bounded_number_of_queries(server: Server) -> None:
    """One query over the user's number is refused, other users' are not, and an ended one makes room."""
    slow = "SELECT count() FROM numbers(1000000000000) WHERE number % 7"
    ids = [f"crowd-{number}" for number in range(4)]
    threads = [threading.Thread(target=server.ask, args=(slow, "ann"), kwargs={"query_id": one}) for one in ids]
    for thread in threads:
        thread.start()
    running = "SELECT count() FROM system.processes WHERE startsWith(query, 'SELECT count() FROM numbers')"
    until(lambda: server.ask(running, "admin").body == b"4\n")
    assert server.ask("SELECT 1", "ann").code == 202
    assert server.ask("SELECT 1").body == b"1\n"
    server.ask("KILL QUERY WHERE query_id LIKE 'crowd-%' SYNC", "admin")
    for thread in threads:
        thread.join()
    assert server.ask("SELECT 1", "ann").body == b"1\n"


def test_readonly_in_the_url_is_kept_to(server: Server) -> None:
    """Who asks for readonly writes nothing, whatever the role."""
    for user in ("writer", "admin"):
        assert server.ask("INSERT INTO shop.t SELECT 1", user, readonly="1").code == 164
    assert server.ask("CREATE TABLE shop.never (a UInt8) ENGINE = Memory", "admin", readonly="2").code == 164
    assert server.ask("EXISTS TABLE shop.never", "admin", readonly="1").body == b"0\n"


def test_all_queries_share_bounded_memory(server: Server) -> None:
    """What no user's limit stops, the server's does."""
    answer = server.ask("SELECT groupArray(number) FROM numbers(1000000000)", "admin")
    assert (answer.code, server.ask("SELECT 1").body) == (241, b"1\n")


def test_users_come_through_a_line_as_they_are() -> None:
    """What the gateway tells its child is read back the same, without any password in it."""
    line = Users(USERS.values()).dump()
    assert Users.load(line).dump() == line
    assert "admin's" not in line
    assert hash_password("admin's") in line


def test_a_password_may_hold_any_character() -> None:
    """Colons and letters beyond ASCII are part of a Basic password."""
    users = Users([User("ann", Role.READER, hash_password("a:ü"), Limits())])
    assert users.authenticate(Credentials.of(basic("ann", "a:ü"), {}), {}).name == "ann"
    with pytest.raises(ClickHouseError, match="AUTHENTICATION_FAILED"):
        users.authenticate(Credentials.of(basic("ann", "a"), {}), {})
