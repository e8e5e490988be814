"""Fixtures of the embedded ClickHouse's tests: one server with users for each file that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.exporters.clickhouse.embedded.server import Server, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    """A server with users, and a table of ten numbers that all may read."""
    with running(tmp_path_factory.mktemp("server"), free_port) as made:
        for sql in (
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (a UInt64) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO shop.t SELECT number FROM numbers(10)",
        ):
            answer = made.ask(sql, "admin")
            assert answer.status == 200, answer.text
        yield made
