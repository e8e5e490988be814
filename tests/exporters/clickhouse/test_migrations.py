"""Migrations against the real engine: they make the schema once, and leave it alone ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.clickhouse.arrow import SCHEMA_DIRECTORY, table_schemas
from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.migrations import statements
from exporters.clickhouse.settings import ClickHouseSettings
from tests.exporters.clickhouse.stores import store, table_of
from tests.processors.chain import sample

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as Driver

VIEWS = {"spans", "llm_calls", "otel_traces", "OPENROUTER_TRACES"}


def _tables(reader: Driver) -> dict[str, Any]:
    sql = "SELECT name, metadata_modification_time FROM system.tables WHERE database = currentDatabase()"
    return dict(reader.query(sql).result_rows)


def _applied(reader: Driver) -> list[tuple[Any, ...]]:
    return list(reader.query("SELECT Name, Sha256, AppliedAt FROM schema_migrations ORDER BY Name").result_rows)


def test_the_schema_is_made_and_noted(exporter: ClickHouseExporter, reader: Driver) -> None:
    """A first migration makes every table and view, and notes each file with its digest."""
    exporter.migrate()
    assert set(_tables(reader)) == VIEWS | set(table_schemas()) | {"schema_migrations"}
    assert [name for name, _, _ in _applied(reader)] == sorted(file.name for file in SCHEMA_DIRECTORY.glob("*.sql"))


def test_migrating_again_changes_nothing(exporter: ClickHouseExporter, reader: Driver) -> None:
    """A second migration, by the same or another gateway, changes no table, no view and no note, and keeps the rows."""
    exporter.migrate()
    store(exporter, table_of(exporter, sample()), "1")
    before = (_tables(reader), _applied(reader))
    exporter.migrate()
    other = ClickHouseExporter(exporter._settings)
    other.migrate()
    other.close()
    assert (_tables(reader), _applied(reader)) == before
    assert reader.query("SELECT count() FROM spans").result_rows == [(3,)]


def test_changed_views_are_replaced(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Views of another version are replaced by this one's; numbered migrations are not run again."""
    exporter.migrate()
    reader.command("CREATE OR REPLACE VIEW llm_calls AS SELECT 1 AS old")
    reader.command(
        "INSERT INTO schema_migrations (Name, Sha256) VALUES ('views.sql', 'old'), ('0001_spans.sql', 'old')"
    )
    exporter.migrate()
    assert "CallId" in reader.query("SELECT * FROM llm_calls LIMIT 0").column_names
    latest = "SELECT argMax(Sha256, AppliedAt) FROM schema_migrations WHERE Name = {name:String}"
    assert reader.query(latest, {"name": "0001_spans.sql"}).result_rows == [("old",)]
    assert reader.query(latest, {"name": "views.sql"}).result_rows != [("old",)]


def test_the_database_is_made_too(clickhouse_url: str, clickhouse_database: str, reader: Driver) -> None:
    """A database that is not there is made, whatever its name has in it."""
    name = f"{clickhouse_database} of-team"
    exporter = ClickHouseExporter(ClickHouseSettings(endpoint=clickhouse_url, database=name))
    try:
        store(exporter, table_of(exporter, sample()), "1")
        count = "SELECT count() FROM {database:Identifier}.spans"
        assert reader.query(count, {"database": name}).result_rows == [(3,)]
    finally:
        exporter.close()
        reader.command("DROP DATABASE IF EXISTS {database:Identifier}", parameters={"database": name})


def test_a_file_is_its_statements() -> None:
    """Each statement of a schema file stands alone, without the comment before it and without its semicolon."""
    for file in SCHEMA_DIRECTORY.glob("*.sql"):
        found = statements(file)
        assert found
        for statement in found:
            assert statement.startswith("CREATE ")
            assert not statement.rstrip().endswith(";")
