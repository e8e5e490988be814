"""Fixtures of the exporter's tests: an exporter of a database of its own, and a connection to read with."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import clickhouse_connect
import pytest

from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.settings import ClickHouseSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client as Driver


def _connect(url: str, database: str) -> Driver:
    place = urlsplit(url)
    return clickhouse_connect.get_client(
        host=place.hostname or "localhost", port=place.port or 8123, database=database, autogenerate_session_id=False
    )


@pytest.fixture
def exporter(clickhouse_url: str, clickhouse_database: str) -> Iterator[ClickHouseExporter]:
    """An exporter into an empty database."""
    made = ClickHouseExporter(ClickHouseSettings(endpoint=clickhouse_url, database=clickhouse_database))
    yield made
    made.close()


@pytest.fixture
def reader(clickhouse_url: str, clickhouse_database: str) -> Iterator[Driver]:
    """A ClickHouse client that reads what the exporter wrote."""
    client = _connect(clickhouse_url, clickhouse_database)
    yield client
    client.close()


@pytest.fixture(scope="module")
def module_exporter(clickhouse_url: str) -> Iterator[ClickHouseExporter]:
    """An exporter into a database that the tests of one file share."""
    database = f"test_{uuid.uuid4().hex}"
    made = ClickHouseExporter(ClickHouseSettings(endpoint=clickhouse_url, database=database))
    made.migrate()
    yield made
    made.close()
    client = _connect(clickhouse_url, "default")
    client.command(f"DROP DATABASE {database}")
    client.close()


@pytest.fixture(scope="module")
def module_reader(clickhouse_url: str, module_exporter: ClickHouseExporter) -> Iterator[Driver]:
    """A ClickHouse client for the database that the tests of one file share."""
    client = _connect(clickhouse_url, module_exporter._settings.database)
    yield client
    client.close()
