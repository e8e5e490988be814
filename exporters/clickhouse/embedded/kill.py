"""KILL QUERY by the query ids that clients know: the engine gives every query an id of its own.

A query's label (`Query.label`) stands in a setting that the engine's list of processes shows.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from exporters.clickhouse.embedded.query import LABEL
from exporters.clickhouse.embedded.sql import quoted
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.clickhouse.embedded.users import User

    Run = Callable[[bytes, str], bytes]

_PATIENCE: Final = 30.0  # seconds; some functions look for no KILL
_INTERVAL: Final = 0.05
_MINE: Final = f"Settings['{LABEL}'] != getSetting('{LABEL}')"
_QUERY_ID: Final = f"JSONExtractString(Settings['{LABEL}'], 'query_id')"
_USER: Final = f"JSONExtractString(Settings['{LABEL}'], 'user')"
_PROCESSES: Final = f"""
SELECT engine_id
FROM (
    SELECT query_id AS engine_id, * REPLACE ({_QUERY_ID} AS query_id, {_USER} AS user)
    FROM system.processes
    WHERE {_MINE}
)
WHERE 1
"""  # noqa: S608 -- names of ours
_OWNERS: Final = f"""
SELECT p.query_id AS engine_id, {_QUERY_ID} AS query_id, {_USER} AS user, p.query AS query
FROM system.processes AS p
WHERE {_MINE}
"""  # noqa: S608 -- names of ours


def find(tree: dict[str, Any], user: User, run: Run) -> list[dict[str, str]]:
    """The queries that a KILL QUERY means, among those that its user may kill: an admin any, others their own."""
    select = orjson.loads(
        run(b"SELECT parseQueryToJSON(unhex('" + _PROCESSES.encode().hex().encode() + b"'))", "TSVRaw")
    )
    select["list_of_selects"]["children"][0]["where"] = tree["where_expression"]
    changed = orjson.dumps(select).hex().encode()
    text = run(b"SELECT formatQueryFromJSON(unhex('" + changed + b"'))", "TSVRaw")
    found = {row["engine_id"] for row in _rows(run(text, "JSONEachRow"))}
    # Whose they are is asked again without the user's WHERE, which could give other columns these names.
    return [
        row
        for row in _rows(run(_OWNERS.encode(), "JSONEachRow"))
        if row["engine_id"] in found and (user.role is Role.ADMIN or row["user"] == user.name)
    ]


def _rows(lines: bytes) -> list[dict[str, str]]:
    return [orjson.loads(line) for line in lines.splitlines()]


def end(tree: dict[str, Any], found: list[dict[str, str]], run: Run) -> bool:
    """Kill them, and with SYNC wait a while for their ends; whether all that was waited for have ended."""
    if not found:
        return True
    ids = ", ".join(quoted(row["engine_id"]) for row in found)
    run(f"KILL QUERY WHERE query_id IN ({ids}) ASYNC".encode(), "Null")
    deadline = time.monotonic() + (_PATIENCE if tree.get("sync") else 0)
    count = f"SELECT count() FROM system.processes WHERE query_id IN ({ids})".encode()  # noqa: S608 -- quoted above
    while (are_left := run(count, "TSVRaw") != b"0\n") and time.monotonic() < deadline:
        time.sleep(_INTERVAL)
    return not are_left


def report(found: list[dict[str, str]], output_format: str, run: Run, *, have_ended: bool) -> bytes:
    """The answer of KILL QUERY, a row for each query."""
    status = "finished" if have_ended else "waiting"
    rows = "".join(
        f", ({quoted(status)}, {quoted(row['query_id'])}, {quoted(row['user'])}, {quoted(row['query'])})"
        for row in found
    )
    columns = "'kill_status String, query_id String, user String, query String'"
    if not found:
        return b""
    return run(f"SELECT * FROM values({columns}{rows})".encode(), output_format)  # noqa: S608 -- quoted above
