"""`tollgate ledger`: what became of every span, with the gateway running and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import as_admin, request, span, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

START = 1_795_305_100_000_000_000
CONFIG = """
exporters: {clickhouse: {embedded: {users: {admin: {role: admin, password: admin's}}}}}
service: {spool: {segment_max_age: 50ms}}
"""


@pytest.mark.slow
def test_the_ledger_is_shown_and_checked(make_gateway: Callable[..., Gateway]) -> None:
    """Counts by destination outlive the gateway, and a check finds the span that was deleted from ClickHouse."""
    gateway = make_gateway(config=CONFIG)
    assert f"There is no data directory {gateway.data}" in gateway.run("ledger").stderr
    gateway.data.mkdir()
    assert "Nothing has been received yet." in gateway.run("ledger").stdout
    gateway.start()
    gateway.deliver(request(*(span("1" * 32, f"{number:016x}", START + number) for number in range(1, 8))))
    until(gateway.is_drained)
    shown = gateway.run("ledger", "--check")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[1].split() == ["default", "7", "0", "7", "7", "0", "0", "0"]
    assert "Of 7 spans in those that were sent, 0 are not in ClickHouse, 0 are there more than once" in shown.stdout
    as_admin(gateway, f"ALTER TABLE spans_data DELETE WHERE SpanId = '{3:016x}' SETTINGS mutations_sync = 1")
    checked = gateway.run("ledger", "--check")
    assert checked.returncode == 1
    assert f"Missing: destination default, trace {'1' * 32}, span {3:016x}, start {START + 3} ns" in checked.stdout
    gateway.stop()
    assert gateway.run("ledger").stdout == "\n".join(shown.stdout.splitlines()[:2]) + "\n"
    assert "ClickHouse" in gateway.run("ledger", "--check").stderr
