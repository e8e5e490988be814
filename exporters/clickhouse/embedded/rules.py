"""What each role may run: kinds of statement, functions, and settings. It judges what the engine's parser saw.

This is the first of four walls. The second is the engine's own grants (`roles.py`), the third, for readers, its
`readonly = 1`, the fourth the operating system's (`sandbox.py`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from exporters.clickhouse.embedded.errors import (
    ACCESS_DENIED,
    INTO_OUTFILE_NOT_ALLOWED,
    READONLY,
    SETTING_CONSTRAINT_VIOLATION,
    UNKNOWN_QUERY_PARAMETER,
    UNKNOWN_TYPE_OF_QUERY,
    ClickHouseError,
)
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporters.clickhouse.embedded.grammar import Parsed
    from exporters.clickhouse.embedded.query import Query
    from exporters.clickhouse.embedded.users import User

# Kinds whose rows are a result that may be large.
QUERIES: Final = frozenset({"SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "ExplainQuery"})
KILL: Final = "KillQueryQuery"
SET: Final = "SetQuery"
USE: Final = "UseQuery"

_READS: Final = QUERIES | {KILL, SET, USE}
_READING_WORDS: Final = ("Show", "SHOW ", "Describe", "Exists")
_WRITES: Final = frozenset({"InsertQuery"})
_EXPLAINED: Final = QUERIES | _WRITES  # EXPLAIN TABLE OVERRIDE, which connects to MySQL, explains none
_TEMPORARY: Final = frozenset({"CreateQuery", "DropQuery"})
_TEMPORARY_ENGINES: Final = frozenset({"memory"})

# Table functions that make rows of their own or read the database; every other one the engine has is refused. Not among
# them are those that take the structure of a table as text (values, format, null, generateRandom): it may hold a
# DEFAULT or an ALIAS with any expression, which the parser does not see.
HARMLESS_TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "generateseries", "merge", "mergetreeindex", "mergetreeprojection", "numbers", "numbers_mt"}
    | {"primes", "sqlstandardvalues", "view", "viewexplain", "viewifpermitted", "zeros", "zeros_mt"}
)
# Functions that reach files, the network or what lies outside the database; with the functions that call a model.
OUTWARD_FUNCTIONS: Final = frozenset(
    {"addresstoline", "addresstolinewithinlines", "addresstosymbol", "catboostevaluate", "demangle", "file"}
    | {"formatqueryfromjson", "fuzzquery", "getclienthttpheader", "logtrace", "parsequerytojson", "reversednsquery"}
    | {"showcertificate"}
)
OUTWARD_CATEGORIES: Final = ("AI", "Introspection")

# Settings that a reader or writer may bring: what shapes a query, its result and its cost within the user's limits.
# Never one that is itself a piece of SQL (additional_result_filter, filter, select, …): the parser does not see it.
_PERMITTED: Final = re.compile(
    r"""
      (?:input|output)_format_(?!schema$|record_errors_file_path$|values_)\w+
    | format_(?:binary|csv|custom|json|regexp|tsv)_\w+
    | (?:aggregate|asterisk|cast|compile|count_distinct|date_time|describe|distinct|empty_result|enable|group_by)_\w+
    | (?:any_)?join_\w+ | (?:low_cardinality|optimize|partial_merge|prefer|query_cache|query_plan|show|use)_\w+
    | (?:async_insert|deduplicate|insert|max_insert|min_insert|parallel_view|wait_for_async_insert)\w*
    | max_(?:block_size|bytes_\w+|columns_\w+|execution_time|final_threads|memory_usage|query_size|result_\w+|rows_\w+)
    | max_(?:streams_\w+|temporary_\w+|threads) | min_(?:bytes|rows|count)_\w+ | (?:preferred|merge_tree)_\w+
    | \w+_overflow_mode | timeout_before_checking_execution_speed
    | allow_(?:experimental|suspicious)_(?!eval|kusto|prql|polyglot|url|kafka)\w+
    | (?:http|send_progress_in_http|cancel_http)_\w+ | (?:connect|receive|send)_timeout | add_http_cors_header
    | extremes | final | force_(?:index|primary)\w+ | limit | offset
    | log_(?:comment|queries\w*|query\w*) | lock_acquire_timeout | session_timezone | select_sequential_consistency
    | short_circuit\w+ | totals_\w+ | transform_null_in | union_default_mode | priority | stream_like_engine\w+
    """,
    re.VERBOSE,
)
# No client changes these, whoever it is: the text that was checked must be the text that runs.
_FIXED: Final = re.compile(
    r"dialect|profile|(?:framing_|input_|output_)?format|compression|implicit_\w+|chdb_client_name"
)
_STRICTER: Final = {"1", "2"}
_AGGREGATE: Final = re.compile(r"\w+(?:\([\d., ]*\))?")  # with parameters that are numbers, as in quantile(0.9)
_SHORTEST: Final = 0.001  # seconds; the engine takes less than a microsecond for none, which is no limit


class Rules:
    """The rules of one engine.

    `table_functions` are the names of those that it has, `outward` the names of functions it counts among the
    OUTWARD_CATEGORIES.
    """

    def __init__(self, table_functions: Iterable[str], outward: Iterable[str]) -> None:
        self._outward = OUTWARD_FUNCTIONS | {name.lower() for name in outward}
        self._refused = self._outward | ({name.lower() for name in table_functions} - HARMLESS_TABLE_FUNCTIONS)

    def check(self, parsed: Parsed, query: Query, *, own_file: str | None) -> None:
        """Raise ClickHouseError if the query's user may not run the statement with the settings of the request.

        `own_file` is the one that this server itself lets the statement write to or read from.
        """
        user = query.user
        _check_files(parsed, own_file)
        brought = [*query.settings.items(), *parsed.settings]
        for name, _ in brought:
            if _FIXED.fullmatch(name):
                raise ClickHouseError(READONLY, f"Setting {name} cannot be changed in the embedded ClickHouse")
        if query.is_get and not _reads(parsed):
            raise ClickHouseError(READONLY, "Cannot execute query in readonly mode: send it with POST")
        if query.settings.get("readonly", "0") != "0" and not _reads(parsed):
            raise ClickHouseError(READONLY, "Cannot execute query in readonly mode")
        missing = sorted(parsed.all_parameters - set(query.parameters))
        if missing:
            # Not left to the engine: a session's connection would still know those of an earlier request.
            raise ClickHouseError(UNKNOWN_QUERY_PARAMETER, f"Substitution `{missing[0]}` is not set")
        if query.session is not None and parsed.kind == SET and "readonly" in dict(parsed.settings):
            raise ClickHouseError(READONLY, "In a session readonly is a parameter of each request's URL, not of SET")
        if user.role is Role.ADMIN:
            return
        _check_kind(parsed, user)
        self._check_names(parsed, query)
        _check_settings(brought, user)

    def _check_names(self, parsed: Parsed, query: Query) -> None:
        user = query.user
        if parsed.is_opaque:
            raise _denied(user, "this form of the statement; leave out APPLY, SETTINGS, parameters and arrayReduce")
        if not all(name is not None and _AGGREGATE.fullmatch(name) for name in parsed.aggregates):
            raise _denied(user, "an aggregate function by a name that is no plain text")
        identifiers = parsed.identifiers | {query.parameters[name].lower() for name in parsed.parameters}
        found = sorted(parsed.functions & self._refused | identifiers & self._outward)
        if found:
            raise _denied(
                user,
                f"{found[0]}: it reaches outside the database. (A column of this name can be read as table.{found[0]})",
            )


def _check_files(parsed: Parsed, own_file: str | None) -> None:
    # As ClickHouse's server: such files are the client program's, not the server's.
    if parsed.out_file is not None and parsed.out_file != own_file:
        raise ClickHouseError(INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed: the result is the response")
    if parsed.in_file is not None and parsed.in_file != own_file:
        raise ClickHouseError(
            UNKNOWN_TYPE_OF_QUERY, "FROM INFILE is not allowed: send the data in the body, behind the INSERT"
        )


def _check_kind(parsed: Parsed, user: User) -> None:
    kind = parsed.kind
    if _reads(parsed):
        tree = parsed.tree or {}
        if kind == "ExplainQuery" and tree.get("query", {}).get("type") not in _EXPLAINED:
            raise _denied(user, "EXPLAIN of anything but SELECT and INSERT")
        if kind == KILL and (tree.get("kill_type") != "Query" or "cluster" in tree):
            raise _denied(user, "KILL of anything but queries on this server")
        return
    if user.role is Role.WRITER and (kind in _WRITES or _is_temporary(parsed)):
        return
    what = re.sub(r"(Query)?(_.*)?$", "", kind)
    raise _denied(user, f"statements of the kind {what}")


def _reads(parsed: Parsed) -> bool:
    return parsed.kind in _READS or parsed.kind.startswith(_READING_WORDS)


def _is_temporary(parsed: Parsed) -> bool:
    """Whether it makes or drops a temporary table that is held in memory."""
    tree = parsed.tree or {}
    engine = ((tree.get("storage") or {}).get("engine") or {}).get("name", "Memory")
    return parsed.kind in _TEMPORARY and tree.get("is_temporary") is True and engine.lower() in _TEMPORARY_ENGINES


def _check_settings(brought: Iterable[tuple[str, str]], user: User) -> None:
    limits = user.limits.settings()
    for name, value in brought:
        if name == "readonly" and value in _STRICTER:
            continue
        if not _PERMITTED.fullmatch(name):
            raise ClickHouseError(
                READONLY, f"{user.name}: Cannot modify '{name[:60]}' setting: the role {user.role} does not permit it"
            )
        if name in limits and not _is_within(name, value, limits[name]):
            raise ClickHouseError(
                SETTING_CONSTRAINT_VIOLATION, f"Setting {name} shouldn't be greater than {limits[name]}"
            )


def _is_within(name: str, value: str, limit: float) -> bool:
    if name != "max_execution_time":
        return value.isascii() and value.isdecimal() and 1 <= int(value) <= limit
    try:
        return _SHORTEST <= float(value) <= limit
    except ValueError:
        return False


def _denied(user: User, what: str) -> ClickHouseError:
    return ClickHouseError(
        ACCESS_DENIED, f"{user.name}: Not enough privileges. The role {user.role} may not use {what}"
    )
