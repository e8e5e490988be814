"""Attacks on the embedded ClickHouse by its own readers and writers, who must stay inside the database.

Outside it lie a file with a canary's song, which no answer and no table may hold, and a listener that nobody may call.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
import pytest_asyncio

from exporters.clickhouse.embedded import EmbeddedClickHouse, Limits, Role, User, Users
from exporters.clickhouse.embedded.rules import _PERMITTED

try:
    from compression import zstd
except ImportError:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from _pytest.mark.structures import ParameterSet

pytestmark = pytest.mark.asyncio(loop_scope="module")

SONG: Final = "the canary of these tests sang"
READER, WRITER, OTHER, ADMIN = "reader", "writer", "other", "admin"
BOTH: Final = (READER, WRITER)
LIMITS: Final = Limits(
    max_memory_usage=100_000_000,
    max_execution_time=3.0,
    max_result_bytes=500_000,
    max_concurrent_queries=4,
)
SECONDS: Final = 20.0
SOON: Final = 2.0  # seconds for what costs the server nothing
ERROR: Final = re.compile(r"Code: (\d+)\. DB::Exception: \S.{10,} \(version [^)]+\)\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is read to its end."""

    status: int
    code: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")


@dataclass(slots=True)
class Target:
    """The server, and what lies around it: `directory` holds its data and, outside of them, the canary."""

    clickhouse: EmbeddedClickHouse
    session: aiohttp.ClientSession
    directory: Path
    listener: asyncio.Server
    calls: list[str] = field(default_factory=list)

    async def ask(
        self, sql: str | bytes, user: str, headers: Mapping[str, str] | None = None, **parameters: str
    ) -> Answer:
        """Run a query; a connection that is cut off is an answer with the status 0."""
        query = urllib.parse.urlencode({"user": user} | parameters)
        body = sql.encode() if isinstance(sql, str) else sql
        try:
            async with self.session.post(f"{self.clickhouse.url}/?{query}", data=body, headers=headers) as response:
                code = int(response.headers.get("X-ClickHouse-Exception-Code", "0"))
                return Answer(response.status, code, await response.read())
        except aiohttp.ClientError as error:
            return Answer(0, 0, repr(error).encode())

    async def recover(self) -> None:
        """Wait until the server answers, so that what one attack broke is no failure of the next."""
        async with asyncio.timeout(SECONDS):
            while (await self.ask("SELECT 1", ADMIN)).status != 200 or self.clickhouse.pid is None:
                pass

    def filled(self, text: str) -> str:
        """A text with the places that the attacks want to reach."""
        port = self.listener.sockets[0].getsockname()[1]
        outside = self.directory / "outside"
        return (
            text.replace("@canary", str(outside / "canary.txt"))
            .replace("@outside", str(outside))
            .replace("@listener", f"127.0.0.1:{port}")
        )

    def around(self) -> dict[str, tuple[int, int]]:
        """All files outside the database's directory, with their sizes and times."""
        found = [*self.directory.iterdir(), *(self.directory / "outside").rglob("*")]
        # The database's own directory changes with every query; only that it is there is of interest.
        stats = {path: path.stat() for path in found if path.name != "data"}
        return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> AsyncIterator[Target]:
    """One server for all attacks, with the canary and the listener beside it."""
    directory = tmp_path_factory.mktemp("attacked")
    (directory / "outside").mkdir()
    (directory / "outside" / "canary.txt").write_text(SONG)
    users = Users(
        [
            User(READER, Role.READER, limits=LIMITS),
            User(WRITER, Role.WRITER, limits=LIMITS),
            User(OTHER, Role.READER),
            User(ADMIN, Role.ADMIN),
        ]
    )
    calls: list[str] = []

    def call(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(str(writer.get_extra_info("peername")))
        writer.close()

    listener = await asyncio.start_server(call, "127.0.0.1", 0)
    clickhouse = EmbeddedClickHouse(
        directory / "data",
        port=free_port(),
        users=users,
        max_server_memory_usage=1 << 30,
        restart_delays=(0.1, 0.1),
    )
    await clickhouse.start()
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    # Without kept connections, so that none is one to a server that an attack has crashed.
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(force_close=True)) as session:
        made = Target(clickhouse, session, directory, listener, calls)
        for sql in (
            "CREATE TABLE s (s String) ENGINE = MergeTree ORDER BY s",
            "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO t SELECT number FROM numbers(10)",
        ):
            answer = await made.ask(sql, ADMIN)
            assert answer.status == 200, answer.text
        yield made
    await clickhouse.stop()
    listener.close()
    await listener.wait_closed()


@dataclass(frozen=True, slots=True)
class Attack:
    """A query that must fail, with `code` where that is certain; `before` are queries of the same session."""

    sql: str
    code: int | None = None
    users: tuple[str, ...] = BOTH
    before: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


def by(users: tuple[str, ...], code: int | None, *texts: str, **parameters: str) -> list[Attack]:
    """Attacks that differ in their text alone."""
    return [Attack(sql, code, users, parameters=parameters) for sql in texts]


ALIASED: Final = "'a String, b String ALIAS file(\\'@canary\\')'"
OUTWARD: Final = [
    # Functions and table functions by their plain names, in every clause.
    *by(
        BOTH,
        497,
        "SELECT file('@canary')",
        "SELECT FILE('@canary')",
        "SELECT `file`('@canary')",
        "SELECT \"file\" /* ( */ ('@canary')",
        "SELECT * FROM file('@canary', 'LineAsString', 's String')",
        "SELECT * FROM url('http://@listener/', 'LineAsString')",
        "SELECT * FROM urlCluster('default', 'http://@listener/', 'LineAsString')",
        "SELECT * FROM s3('http://@listener/b/k', 'LineAsString')",
        "SELECT * FROM gcs('http://@listener/b/k', 'LineAsString')",
        "SELECT * FROM azureBlobStorage('http://@listener/', 'c', 'b', 'a', 'a2V5', 'LineAsString')",
        "SELECT * FROM hdfs('hdfs://@listener/f', 'LineAsString', 's String')",
        "SELECT * FROM iceberg('http://@listener/b/k')",
        "SELECT * FROM icebergLocal('@outside')",
        "SELECT * FROM deltaLake('http://@listener/b/k')",
        "SELECT * FROM remote('@listener', system.one)",
        "SELECT * FROM remoteSecure('@listener', system.one)",
        "SELECT * FROM cluster('default', system.one)",
        "SELECT * FROM mysql('@listener', 'd', 't', 'u', 'p')",
        "SELECT * FROM postgresql('@listener', 'd', 't', 'u', 'p')",
        "SELECT * FROM mongodb('@listener', 'd', 't', 'u', 'p', 's String')",
        "SELECT * FROM redis('@listener', 's', 's String')",
        "SELECT * FROM sqlite('@outside/x.db', 't')",
        "SELECT * FROM odbc('DSN=x', 'd', 't')",
        "SELECT * FROM jdbc('jdbc:x://@listener', 'd', 't')",
        "SELECT * FROM executable('cat @canary', 'LineAsString', 's String')",
        "SELECT * FROM python(os)",
        "SELECT * FROM filesystem('@outside')",
        "SELECT * FROM dictionary('d')",
        "SELECT * FROM loop(system.one)",
        "SELECT * FROM eval('SELECT file(\\'@canary\\')')",
        "SELECT reverseDNSQuery('127.0.0.1')",
        "SELECT catboostEvaluate('@canary', 1)",
        "SELECT addressToSymbol(1)",
        "SELECT aiGenerate('x')",
        "SELECT getClientHTTPHeader('Host')",
        "WITH (SELECT file('@canary')) AS f SELECT f",
        "WITH x -> file(x) AS f SELECT f('@canary')",
        "SELECT 1 WHERE file('@canary') != ''",
        "SELECT 1 ORDER BY file('@canary')",
        "SELECT 1 LIMIT length(file('@canary'))",
        "SELECT sum(1) OVER (PARTITION BY file('@canary'))",
        "SELECT 1 FROM t ARRAY JOIN [file('@canary')] AS f",
        "SELECT 1 EXCEPT SELECT file('@canary')",
        "SELECT * FROM numbers(length(file('@canary')))",
        "VALUES (file('@canary'))",
        "SELECT * FROM values('s String', (file('@canary')))",
        # A function's bare name, as ClickHouse takes it for an argument.
        "SELECT arrayMap(file, ['@canary'])",
        "SELECT arrayMap(`file`, ['@canary'])",
        "WITH file AS f SELECT arrayMap(f, ['@canary'])",
        "SELECT 1 AS file, arrayMap(file, ['@canary'])",
        "SELECT * APPLY(file) FROM (SELECT '@canary' AS c)",
        "SELECT * APPLY(x -> file(x)) FROM (SELECT '@canary' AS c)",
        "SELECT COLUMNS('c') APPLY file FROM (SELECT '@canary' AS c)",
        "SELECT * REPLACE (file(c) AS c) FROM (SELECT '@canary' AS c)",
        # Statements within statements.
        "EXPLAIN SELECT file('@canary')",
        "EXPLAIN SYNTAX SELECT * FROM url('http://@listener/', 'LineAsString')",
        "EXPLAIN ESTIMATE SELECT * FROM remote('@listener', system.one)",
        "EXPLAIN TABLE OVERRIDE mysql('@listener', 'd', 't', 'u', 'p') PARTITION BY x",
        "SELECT * FROM (EXPLAIN SELECT file('@canary'))",
        "SELECT * FROM view(SELECT file('@canary'))",
        "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT file('@canary')))",
        "SELECT * FROM viewIfPermitted(SELECT file('@canary') AS a ELSE null('a String'))",
        "DESCRIBE file('@canary')",
        "DESCRIBE (SELECT * FROM url('http://@listener/', 'LineAsString'))",
        "SHOW TABLES WHERE file('@canary') != ''",
        "SHOW TABLES LIMIT length(file('@canary'))",
        "SHOW COLUMNS FROM t WHERE throwIf(1, file('@canary'))",
        "SHOW INDEXES FROM t WHERE throwIf(1, file('@canary'))",
        "KILL QUERY WHERE throwIf(1, file('@canary'))",
        "SELECT 1 PARALLEL WITH SELECT 2",
    ),
    # A name that is a parameter.
    *by(
        BOTH,
        None,
        "SELECT arrayMap({f:Identifier}, ['@canary'])",
        "SELECT arrayMap(({f:Identifier}), ['@canary'])",
        "SELECT {f:Identifier}('@canary')",
        "WITH {f:Identifier} AS f SELECT arrayMap(f, ['@canary'])",
        "SHOW TABLES WHERE throwIf(1, arrayMap({f:Identifier}, ['@canary'])[1])",
        param_f="file",
    ),
    Attack("SELECT arrayMap({f:Identifier}, ['@canary'])", before=("SET param_f = 'file'",)),
    # Texts that the engine takes for SQL later: structures of table functions, parameters of aggregate functions.
    *by(
        BOTH,
        None,
        f"SELECT b FROM values({ALIASED}, ('x'))",
        f"SELECT b FROM VALUES({ALIASED}, ('x'))",
        f"WITH {ALIASED} AS structure SELECT b FROM values(structure, ('x'))",
        f"SELECT b FROM view(SELECT b FROM values({ALIASED}, ('x')))",
        f"EXPLAIN SELECT b FROM values({ALIASED}, ('x'))",
        f"SELECT b FROM generateRandom({ALIASED}) LIMIT 1",
        f"SELECT b FROM generateRandom(concat({ALIASED}, '')) LIMIT 1",
        "SELECT b FROM values('a String, b String ALIAS arrayMap(file, [\\'@canary\\'])[1]', ('x'))",
        "SELECT * FROM viewIfPermitted(SELECT 1 AS b ELSE null('b UInt8 DEFAULT toUInt8(file(\\'@canary\\'))'))",
        "SHOW TABLES WHERE 1 IN (SELECT b FROM values('a Int8, b String ALIAS throwIf(1, file(\\'@canary\\'))', 1))",
        "SELECT * FROM format(Values, 's String', '(file(\\'@canary\\'))')",
        "SELECT * FROM format(CSV, 'a String, b String DEFAULT file(\\'@canary\\')', 'x,')",
        "SELECT b FROM format(JSONEachRow, 'a String, b String MATERIALIZED file(\\'@canary\\')', '{\"a\": 1}')",
        "SELECT arrayReduce('groupConcat(file(\\'@canary\\'))', ['a', 'b'])",
        "SELECT arrayReduceInRanges('groupConcat(file(\\'@canary\\'))', [(1, 2)], ['a', 'b'])",
    ),
    Attack(
        "SELECT b FROM values({s:String}, ('x'))", parameters={"param_s": "a String, b String ALIAS file('@canary')"}
    ),
    Attack("SELECT count(DISTINCT 'x') SETTINGS count_distinct_implementation = 'file'", 63),
    # Names of tables that are files or addresses.
    *by(
        BOTH,
        60,
        "SELECT * FROM `@canary`",
        "SELECT * FROM '@canary'",
        "SELECT * FROM default.`@canary`",
        "SELECT * FROM `/etc/hostname`",
        "SELECT * FROM default.`../outside/canary.txt`",
        "SELECT * FROM `http://@listener/x.csv`",
        "SELECT * FROM `s3://@listener/x.csv`",
        "SELECT 1 IN `@canary`",
        "DESCRIBE `@canary`",
    ),
    *by(BOTH, 60, "SELECT * FROM {t:Identifier}", param_t="@canary"),
    *by(BOTH, 81, "SELECT * FROM `@outside`.`canary.txt`", "USE `@outside`"),
]

OUTFILES: Final = [
    *by(
        BOTH,
        355,
        *(
            f"{statement} INTO OUTFILE '@outside/out'{clauses}"
            for statement in (
                "SELECT 1",
                "(SELECT 1)",
                "SELECT 1 UNION ALL SELECT 2",
                "WITH 1 AS x SELECT x",
                "FROM t SELECT a",
                "EXPLAIN SELECT 1",
                "EXPLAIN SYNTAX SELECT 1",
                "SHOW TABLES",
                "SHOW DATABASES",
                "SHOW CREATE TABLE t",
                "SHOW COLUMNS FROM t",
                "SHOW PROCESSLIST",
                "SHOW GRANTS",
                "DESCRIBE t",
                "EXISTS t",
                "KILL QUERY WHERE 0",
            )
            for clauses in ("", " FORMAT CSV")
        ),
        "SELECT 1 INTO OUTFILE '@outside/out' APPEND",
        "SELECT 1 INTO OUTFILE '@outside/canary.txt' TRUNCATE",
        "SELECT 1 INTO OUTFILE '@outside/out' AND STDOUT",
        "SELECT 1 INTO OUTFILE '@outside/out' TRUNCATE COMPRESSION 'gzip' LEVEL 9",
        "SELECT 1 INTO /* */ OUTFILE $$@outside/out$$",
        "SELECT 1 SETTINGS max_threads = 1 INTO OUTFILE '@outside/out'",
        "SELECT 1 INTO OUTFILE '../outside/out'",
        "SELECT 1 INTO OUTFILE '/dev/fd/1'",
        "SELECT 1 INTO OUTFILE '/dev/stderr'",
    ),
    *by(
        BOTH,
        62,
        "SELECT 1 FORMAT CSV INTO OUTFILE '@outside/out'",
        "(SELECT 1 INTO OUTFILE '@outside/out')",
        "SELECT * FROM (SELECT 1 INTO OUTFILE '@outside/out')",
        "SELECT 1 INTO OUTFILE '@outside/out' INTO OUTFILE '@outside/out'",
        "SELECT 1 INTO OUTFILE {o:String}",
    ),
]

WRITES: Final = [
    # The data of VALUES, which the engine reads as expressions.
    *by(
        (WRITER,),
        None,
        "INSERT INTO s VALUES (file('@canary'))",
        "INSERT INTO s FORMAT Values (concat(file('@canary'), '!'))",
        "INSERT INTO s VALUES ('x'), (file('@canary'))",
        "INSERT INTO s VALUES ((SELECT file('@canary')))",
        "INSERT INTO s SETTINGS input_format_values_interpret_expressions = 1 VALUES (file('@canary'))",
        f"INSERT INTO s SELECT b FROM values({ALIASED}, ('x'))",
        "INSERT INTO s SELECT * FROM format(Values, 's String', '(file(\\'@canary\\'))')",
        "INSERT INTO FUNCTION null('a String, b UInt8 DEFAULT toUInt8(file(\\'@canary\\'))') (a) VALUES ('x')",
    ),
    *by((WRITER,), None, "INSERT INTO s VALUES (file('@canary'))", input_format_values_interpret_expressions="1"),
    *by((WRITER,), None, "INSERT INTO s VALUES (file('@canary'))", async_insert="1", wait_for_async_insert="1"),
    *by(
        (WRITER,),
        497,
        "INSERT INTO s SELECT file('@canary')",
        "INSERT INTO s SELECT * FROM url('http://@listener/', 'LineAsString')",
        "INSERT INTO FUNCTION file('@outside/out', 'TSV', 's String') VALUES ('x')",
        "INSERT INTO TABLE FUNCTION url('http://@listener/', 'TSV', 's String') VALUES ('x')",
        "INSERT INTO FUNCTION remote('@listener', default, s) VALUES ('x')",
        "CREATE TEMPORARY TABLE x (s String DEFAULT file('@canary'))",
        "CREATE TEMPORARY TABLE x (s String ALIAS file('@canary'))",
        "CREATE TEMPORARY TABLE x (s String, CONSTRAINT c CHECK file('@canary') != '')",
        "CREATE TEMPORARY TABLE x ENGINE = Memory AS SELECT file('@canary') AS s",
        "CREATE TEMPORARY TABLE x AS file('@canary', 'LineAsString')",
        "CREATE TEMPORARY TABLE x (s String) ENGINE = File(TSV, '@outside/out')",
        "CREATE TEMPORARY TABLE x (s String) ENGINE = URL('http://@listener/', TSV)",
        "CREATE TEMPORARY TABLE x (s String) ENGINE = Log",
        "CREATE TEMPORARY VIEW x AS SELECT 1",
    ),
    *by(
        (WRITER,),
        78,
        "INSERT INTO s FROM INFILE '@canary' FORMAT LineAsString",
        "INSERT INTO s FROM /* */ INFILE '@canary' FORMAT LineAsString",
        "INSERT INTO s FROM INFILE '@outside/*' FORMAT LineAsString",
        "INSERT INTO s FROM INFILE 'tollgate-engine.xml' FORMAT LineAsString",
    ),
    *by((WRITER,), 60, "INSERT INTO `@outside/out.csv` VALUES ('x')", "INSERT INTO default.`out.csv` VALUES ('x')"),
    Attack(
        "SELECT s FROM x",
        users=(WRITER,),
        before=(
            "CREATE TEMPORARY TABLE x (a String, s String DEFAULT arrayMap({f:Identifier}, ['@canary'])[1])",
            "INSERT INTO x (a) VALUES ('x')",
        ),
        parameters={"param_f": "file"},
    ),
    *by(
        BOTH,
        497,
        "CREATE TABLE x (s String) ENGINE = Memory",
        "CREATE TABLE x (s String) ENGINE = File(TSV, '@outside/out')",
        "CREATE DATABASE x ENGINE = Filesystem('@outside')",
        "CREATE FUNCTION f AS x -> file(x)",
        "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(HTTP(URL 'http://@listener/' FORMAT TSV)) LAYOUT(FLAT()) "
        "LIFETIME(0)",
        "CREATE NAMED COLLECTION c AS a = 1",
        "CREATE USER u",
        "GRANT admin TO default",
        "SET ROLE admin",
        "EXECUTE AS default SELECT 1",
        "DROP TABLE s",
        "TRUNCATE TABLE t",
        "ALTER TABLE t DELETE WHERE 1",
        "ATTACH TABLE x FROM '@outside' (s String) ENGINE = Memory",
        "DETACH TABLE s",
        "BACKUP TABLE t TO File('@outside/out')",
        "RESTORE TABLE t FROM File('@outside/out')",
        "SYSTEM SHUTDOWN",
        "SYSTEM RELOAD CONFIG",
        "KILL MUTATION WHERE 1",
    ),
    *by((READER,), 497, "INSERT INTO s VALUES ('x')", "INSERT INTO s SELECT 'x'", "CREATE TEMPORARY TABLE x (a Int8)"),
    *by(
        BOTH,
        62,
        "SELECT 1; DROP TABLE t",
        "SELECT '\\\\'; DROP TABLE t -- '",
        "SELECT $$;$$; DROP TABLE t",
        "SELECT 1 /* '*/; DROP TABLE t -- '",
        "SELECT 1 # '\n; DROP TABLE t -- '",
    ),
    *by((WRITER,), 62, "INSERT INTO s SELECT 'x'; DROP TABLE t"),
]

# A setting that undoes a limit or holds SQL, a path, an address or another program's text.
SETTINGS: Final = {
    "readonly": "0",
    "dialect": "kusto",
    "profile": "default",
    "implicit_select": "1",
    "chdb_client_name": "x",
    "allow_ddl": "1",
    "allow_introspection_functions": "1",
    "max_memory_usage": "0",
    "max_execution_time": "0",
    "max_result_bytes": "500001",
    "max_memory_usage_for_user": "0",
    "max_untracked_memory": "1000000000000",
    "max_parser_depth": "1000000",
    "max_ast_elements": "0",
    "function_sleep_max_microseconds_per_block": "0",
    "os_thread_priority": "-20",
    "additional_result_filter": "file('@canary') = ''",
    "additional_table_filters": "{'t': 'file(\\'@canary\\') = 1'}",
    "filter": "file('@canary') = ''",
    "select": "file('@canary')",
    "order": "file('@canary')",
    "format_schema": "@canary:Message",
    "output_format_schema": "@outside/out",
    "format_template_resultset": "@canary",
    "format_template_row": "@canary",
    "format_avro_schema_registry_url": "http://@listener/",
    "input_format_record_errors_file_path": "@outside/out",
    "cluster_for_parallel_replicas": "default",
    "default_temporary_table_engine": "File",
    "query_profiler_real_time_period_ns": "1000",
}
LIMIT_SETTINGS: Final = frozenset({"max_memory_usage", "max_execution_time", "max_result_bytes"})

# Settings with free text that users may bring, each looked at: delimiters, names and labels.
FREE_TEXTS: Final = frozenset(
    {"count_distinct_implementation", "format_csv_null_representation", "format_custom_field_delimiter"}
    | {"format_custom_result_after_delimiter", "format_custom_result_before_delimiter"}
    | {"format_custom_row_after_delimiter", "format_custom_row_before_delimiter", "format_custom_row_between_delimiter"}
    | {"format_json_object_each_row_column_for_object_name", "format_tsv_null_representation", "http_response_headers"}
    | {"input_format_mysql_dump_table_name", "input_format_orc_reader_time_zone_name", "insert_deduplication_token"}
    | {"log_comment", "output_format_avro_codec", "output_format_avro_confluent_subject", "query_cache_tag"}
    | {"output_format_avro_string_column_pattern", "output_format_image_terminal_mode"}
    | {"output_format_orc_writer_time_zone_name", "output_format_pretty_grid_charset"}
    | {"output_format_sql_insert_table_name", "preferred_optimize_projection_name", "stream_like_engine_insert_queue"}
)


def cases(attacks: list[Attack]) -> list[ParameterSet]:
    """An attack and a user of each, named after them."""
    return [
        pytest.param(attack, user, id=f"{user}: {attack.sql[:70]} {' '.join(attack.parameters)}".strip())
        for attack in attacks
        for user in attack.users
    ]


async def assert_refused(target: Target, attack: Attack, user: str) -> Answer:
    """Run an attack and look at everything that it must not have done."""
    before = target.around()
    restarts = target.clickhouse.restarts
    parameters = {name: target.filled(value) for name, value in attack.parameters.items()}
    if attack.before:
        parameters["session_id"] = f"{user}: {attack.sql}"
    for sql in attack.before:
        await target.ask(target.filled(sql), user, **parameters)
    answer = await target.ask(target.filled(attack.sql), user, **parameters)
    if not answer.status:
        await target.recover()
    stored = await target.ask("SELECT count() FROM s", ADMIN)
    if stored.body != b"0\n":
        await target.ask("TRUNCATE TABLE s", ADMIN)
    assert SONG not in answer.text
    assert stored.body == b"0\n"
    assert_clear(answer)
    assert attack.code in {None, answer.code}, answer.text
    assert target.around() == before
    assert target.calls == []
    assert target.clickhouse.restarts == restarts
    assert (await target.ask("SELECT 1", user)).body == b"1\n"
    return answer


def assert_clear(answer: Answer) -> None:
    """Require an error in ClickHouse's form, with a code of its own and a sentence."""
    found = ERROR.fullmatch(answer.text)
    assert found, answer.text
    assert (answer.status >= 400, int(found[1])) == (True, answer.code), answer.text
    assert answer.code != 1001, answer.text


@pytest.mark.parametrize(("attack", "user"), cases(OUTWARD))
async def test_nothing_outside_the_database_is_read_or_called(target: Target, attack: Attack, user: str) -> None:
    """No function, name, parameter or text brings a reader or writer to files or addresses."""
    await assert_refused(target, attack, user)


@pytest.mark.parametrize(("attack", "user"), cases(OUTFILES))
async def test_no_result_goes_to_a_file(target: Target, attack: Attack, user: str) -> None:
    """INTO OUTFILE is refused in every statement and position."""
    await assert_refused(target, attack, user)


@pytest.mark.parametrize(("attack", "user"), cases(WRITES))
async def test_writers_write_rows_and_nothing_else(target: Target, attack: Attack, user: str) -> None:
    """Inserts take their rows from the request alone, and no other statement than INSERT changes anything."""
    await assert_refused(target, attack, user)


@pytest.mark.parametrize("user", BOTH)
@pytest.mark.parametrize("name", SETTINGS)
async def test_no_setting_opens_a_way(target: Target, name: str, user: str) -> None:
    """Settings that undo a limit or hold SQL, paths or addresses are refused in the URL, in SET and in SETTINGS."""
    code = 452 if name in LIMIT_SETTINGS else 164
    value = target.filled(SETTINGS[name])
    literal = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    await assert_refused(target, Attack("SELECT 1", code, parameters={name: value}), user)
    for sql in (
        f"SET {name} = {literal}",
        f"SET max_threads = 1, {name} = {literal}",
        f"SELECT 1 SETTINGS {name} = {literal}",
        f"SELECT * FROM (SELECT 1 SETTINGS {name} = {literal})",
        f"SHOW TABLES WHERE 1 IN (SELECT 1 SETTINGS {name} = {literal})",
    ):
        await assert_refused(target, Attack(sql, code), user)
    if user == WRITER:
        await assert_refused(target, Attack(f"INSERT INTO s FORMAT TSV SETTINGS {name} = {literal}\nx", code), user)


@pytest.mark.parametrize("user", BOTH)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_execution_time", "0.0000001"),
        ("max_execution_time", "1e-9"),
        ("max_memory_usage", "0.4"),
        ("max_memory_usage", "1e-9"),
        ("max_result_bytes", "0.9"),
        ("max_memory_usage", "DEFAULT"),
        ("max_memory_usage", "-1"),
        ("max_execution_time", "NULL"),
    ],
)
async def test_no_number_is_so_small_that_it_is_no_limit(target: Target, name: str, value: str, user: str) -> None:
    """What the engine would round to 0, which is no limit, is no value of a limit."""
    await assert_refused(target, Attack(f"SELECT 1 SETTINGS {name} = {value}"), user)
    await assert_refused(target, Attack(f"SET {name} = {value}"), user)
    if value not in {"DEFAULT", "NULL"}:
        await assert_refused(target, Attack("SELECT 1", parameters={name: value}), user)


async def test_every_permitted_setting_with_free_text_is_known(target: Target) -> None:
    """No setting of the engine's that users may bring holds a text that nobody has looked at."""
    listed = await target.ask("SELECT name FROM system.settings WHERE type IN ('String', 'Map')", ADMIN)
    assert {name for name in listed.text.split() if _PERMITTED.fullmatch(name)} <= FREE_TEXTS


@pytest.mark.parametrize(
    ("sql", "codes"),
    [
        ("SELECT groupArray(repeat('x', 1000)) FROM numbers(1000000)", {241}),
        ("SELECT length(repeat('x', 1000000000))", {241}),
        ("SELECT arrayMap(x -> range(1000000), range(1000))", {241}),
        ("SELECT arrayFold((all, x) -> arrayConcat(all, all), range(40), [1])", {241}),
        ("SELECT number FROM numbers(100000000) ORDER BY rand() FORMAT Null", {241}),
        ("SELECT number, count() FROM numbers(100000000) GROUP BY number FORMAT Null", {241}),
        ("SELECT a.number FROM numbers(1000000000) a CROSS JOIN numbers(10000000) b ORDER BY rand()", {241}),
        ("SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1, max_execution_time = 1", {159}),
        ("SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(number) SETTINGS max_execution_time = 1", {159}),
        ("SELECT sleep(1000)", {160}),
        ("SELECT range(1000000000)", {69}),
        ("SELECT number FROM numbers(1000000000)", {396}),
        ("SELECT repeat('x', 600000) FROM numbers(1)", {396}),
        ("SELECT match('x', '((x{1000}){1000}){1000}')", {427}),
        ("WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x FROM r) SELECT count() FROM r", {306}),
        ("SELECT " + "(" * 50_000 + "1" + ")" * 50_000, {306}),
        ("SELECT " + "1+" * 5_000 + "1", {167}),
        ("SELECT " + "(SELECT " * 5_000 + "1" + ")" * 5_000, {306}),
        ("SELECT " + "1," * 60_000 + "1", {168}),
        # The engine's depth check sees neither of these, and its JSON writer overflows its stack.
        ("SHOW TABLES WHERE " + "1+" * 5_000 + "1", {167, 306}),
        ("SHOW COLUMNS FROM t WHERE " + "NOT " * 5_000 + "1", {167, 306}),
        ("SELECT * APPLY(x -> " + "1+" * 5_000 + "x) FROM t", {167, 306}),
        ("SELECT parseQueryToJSON(concat('SHOW TABLES WHERE ', repeat('1+', 5000), '1'))", {167, 306, 497}),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)
@pytest.mark.parametrize("user", BOTH)
async def test_who_asks_for_too_much_meets_a_limit(target: Target, sql: str, codes: set[int], user: str) -> None:
    """Memory, time, size and depth end with their limits' own codes, and the server goes on."""
    answer = await assert_refused(target, Attack(sql), user)
    assert answer.code in codes, answer.text


@pytest.mark.parametrize("deep", ["1+" * 400, "abs(" * 400, "NOT " * 400, "- " * 400], ids=lambda deep: deep[:4])
async def test_a_deep_query_is_answered_or_refused_by_name(target: Target, deep: str) -> None:
    """A query that the engine would still take is run, or refused for its depth, and never a failure of the server."""
    answer = await target.ask(f"SELECT {deep}1{')' * deep.count('(')}", READER)
    assert answer.code in {0, 167, 306}, answer.text


async def test_too_many_queries_at_once_are_refused(target: Target) -> None:
    """A user beyond max_concurrent_queries gets its code, and the others are served meanwhile."""
    slow = [asyncio.create_task(target.ask("SELECT sleep(1)", READER)) for _ in range(8)]
    assert (await target.ask("SELECT 1", WRITER)).body == b"1\n"
    codes = sorted([(await each).code for each in slow])
    assert codes == [0] * 4 + [202] * 4


async def test_query_ids_are_one_users_at_a_time(target: Target) -> None:
    """The id of a running query is taken, and free again with its end."""
    slow = asyncio.create_task(target.ask("SELECT sleep(1)", OTHER, query_id="taken"))
    while not (await target.ask("KILL QUERY WHERE query_id = 'taken' TEST", ADMIN)).body:
        pass
    answer = await target.ask("SELECT 1", READER, query_id="taken")
    assert_clear(answer)
    assert answer.code == 216
    assert (await slow).body == b"0\n"
    assert (await target.ask("SELECT 1", READER, query_id="taken")).body == b"1\n"


@pytest.mark.parametrize(
    "where",
    [
        "1",
        "query_id = 'victim'",
        "user = 'other'",
        "('reader' AS user) = 'reader' AND query_id = 'victim'",
        "(('reader' AS user), query_id) = ('reader', 'victim')",
        "Settings['chdb_client_name'] LIKE '%victim%'",
    ],
)
async def test_kill_query_finds_no_other_users_queries(target: Target, where: str) -> None:
    """Whatever its WHERE says, also with aliases named as columns, a reader's KILL QUERY is for their own queries."""
    slow = "SELECT count() FROM numbers(1000000000000) WHERE number % 7"
    victim = asyncio.create_task(target.ask(slow, OTHER, query_id="victim"))
    try:
        while not (await target.ask("KILL QUERY WHERE query_id = 'victim' TEST", ADMIN)).body:
            pass
        found = await target.ask(f"KILL QUERY WHERE {where} TEST", READER)
        assert b"victim" not in found.body
    finally:
        await target.ask("KILL QUERY WHERE query_id = 'victim' ASYNC", ADMIN)
        await victim


async def test_sessions_of_one_user_leave_room_for_others(target: Target) -> None:
    """However many sessions a user opens, another one still gets one."""
    for first in range(0, 1_008, 8):
        names = [f"many {number}" for number in range(first, first + 8)]
        await asyncio.gather(*(target.ask("SELECT 1", OTHER, session_id=name, session_timeout="10") for name in names))
    assert (await target.ask("SELECT 1", READER, session_id="mine")).body == b"1\n"


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT " + b"/* " * 30_000,
        b"SELECT '" + rb"\'" * 40_000,
        b"SELECT " + b"".join(b"$%d$ " % number for number in range(15_000)),
        b"INSERT INTO s " + b"/* " * 30_000,
    ],
    ids=["comments", "quotes", "heredocs", "insert"],
)
async def test_no_text_takes_long_to_tell_apart(target: Target, text: bytes) -> None:
    """A text that opens again and again what it never closes is refused at once, and holds up nobody."""
    answer, other = None, None
    with suppress(TimeoutError):
        async with asyncio.timeout(SOON):
            answer, other = await asyncio.gather(target.ask(text, READER), target.ask("SELECT 1", OTHER))
    await target.recover()
    assert answer is not None
    assert other is not None
    assert_clear(answer)
    assert other.body == b"1\n"


@pytest.mark.parametrize("user", BOTH)
async def test_a_compressed_body_is_taken_in_small_pieces(target: Target, user: str) -> None:
    """A few kilobytes that decompress to very much are refused without ever being held as a whole."""
    encoder = zstd.ZstdCompressor(level=1)
    zeros = bytes(1 << 20)
    body = encoder.compress(b"SELECT 1 ") + b"".join(encoder.compress(zeros) for _ in range(400)) + encoder.flush()
    before = memory_peak(target, reset=True)
    answer = await target.ask(body, user, {"Content-Encoding": "zstd"})
    assert_clear(answer)
    assert memory_peak(target) - before < 200 << 20
    assert (await target.ask("SELECT 1", user)).body == b"1\n"


def memory_peak(target: Target, *, reset: bool = False) -> int:
    """The most memory that the server had since it was reset, in bytes."""
    if reset:
        Path(f"/proc/{target.clickhouse.pid}/clear_refs").write_text("5")
    status = Path(f"/proc/{target.clickhouse.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10


@pytest.mark.parametrize("name", ["X\r\nX-Evil: 1", "X\n\nevil", "\x00", "é"])
async def test_no_name_breaks_out_of_a_header(target: Target, name: str) -> None:
    """A format's name with line breaks is an unknown format, not a header of the response."""
    await assert_refused(target, Attack(f"SELECT 1 FORMAT `{name}`", 73), READER)
    await assert_refused(target, Attack("SELECT 1", 73, parameters={"default_format": name}), READER)


async def test_many_at_once_get_their_own_answers(target: Target) -> None:
    """While queries fail, end early and are left by their clients, every answer is that of its own query."""

    async def own(number: int) -> None:
        for each in range(60):
            text = f"{number}-{each}"
            answer = await target.ask(f"SELECT '{text}'", OTHER)
            assert answer.text == f"{text}\n"

    async def left() -> None:
        for _ in range(20):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await target.ask("SELECT number, sleepEachRow(0.001) FROM numbers(100000)", ADMIN)

    async def failing() -> None:
        for _ in range(20):
            assert (await target.ask("SELECT throwIf(number = 100000) FROM numbers(200000)", WRITER)).code == 395

    restarts = target.clickhouse.restarts
    await asyncio.gather(*(own(number) for number in range(4)), left(), failing())
    assert target.clickhouse.restarts == restarts
