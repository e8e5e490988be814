"""Brings the database to this version's schema: numbered migrations once each, the views whenever they changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import structlog

from exporters.clickhouse.arrow import SCHEMA_DIRECTORY, table_schemas
from exporters.clickhouse.client import quote

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.clickhouse.client import Client

log = structlog.get_logger()

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations
(Name String, Sha256 String, AppliedAt DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = MergeTree ORDER BY (Name, AppliedAt)
"""
_APPLIED = """
SELECT Name, argMax(Sha256, AppliedAt) AS Sha256 FROM {database:Identifier}.schema_migrations GROUP BY Name
"""
_DURABLE = "fsync_after_insert = 1, fsync_part_directory = 1"


def migrate(client: Client, database: str, *, durable: bool) -> None:
    """Create or update the database. Every statement may run twice, so that two gateways may do this at once.

    `durable` makes ClickHouse fsync each insert: for a lone server without replicas, such as the embedded one.
    """
    client.command(f"CREATE DATABASE IF NOT EXISTS {quote(database)}", database="default")
    client.command(_LEDGER, database=database)
    latest = (
        "SELECT Name, argMax(Sha256, AppliedAt) AS Sha256 FROM {database:Identifier}.schema_migrations GROUP BY Name"
    )
    applied = {row["Name"]: row["Sha256"] for row in client.query(latest, {"database": database})}
    for file in [*sorted(SCHEMA_DIRECTORY.glob("[0-9]*.sql")), SCHEMA_DIRECTORY / "views.sql"]:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if file.name in applied and (file.name[0].isdigit() or applied[file.name] == digest):
            continue
        for statement in statements(file):
            client.command(statement, database=database)
        note = f"INSERT INTO schema_migrations (Name, Sha256) VALUES ('{file.name}', '{digest}')"  # noqa: S608 - our own names
        client.command(note, database=database)
        log.info("ClickHouse's schema is updated", database=database, file=file.name)
    if durable:
        for table in table_schemas():
            client.command(f"ALTER TABLE {quote(table)} MODIFY SETTING {_DURABLE}", database=database)


def statements(file: Path) -> list[str]:
    """The statements of a schema file, each of which ends with a semicolon at the end of a line."""
    return [statement for part in file.read_text().split(";\n") if (statement := _without_comments(part).strip())]


def _without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
