"""From the embedded ClickHouse to a server, and back from a backup."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import VIEWS, Gateway, as_admin, request, span, until
from tests.end_to_end.traffic import START

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
MONTH = 31 * 24 * 3600 * 10**9
ADMIN = """
exporters: {clickhouse: {embedded: {users: {admin: {role: admin, password: admin's}}}}}
"""


def fill(gateway: Gateway) -> dict[str, int]:
    """Store spans of three months; the rows of each view."""
    for number in range(30):
        start = START - number % 3 * MONTH
        attributes = [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
        ]
        one = span("e" * 32, f"{number + 1:016x}", start, attributes=attributes)
        gateway.deliver(request(one))
    until(lambda: gateway.count("spans") == 30 and gateway.count("llm_calls") == 30)
    return {view: gateway.count(view) for view in VIEWS}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_steps_move_everything(make_gateway: Callable[..., Gateway]) -> None:
    """What `tollgate schema move` prints, run twice, brings each row once into another ClickHouse."""
    old, server = make_gateway(), make_gateway(config=ADMIN)
    counts = fill(old.start())
    server.start()
    printed = old.run("schema", "move", "--to", f"http://{server.clickhouse}")
    assert (printed.returncode, printed.stderr) == (0, "")
    in_use = subprocess.run(["bash", "-c", printed.stdout], capture_output=True, text=True, check=False, timeout=60)
    assert in_use.returncode == 1
    assert "does not start" in in_use.stderr
    old.stop()
    environment = os.environ | {"CLICKHOUSE_USER": "admin", "CLICKHOUSE_PASSWORD": "admin's"}
    for _ in range(2):
        moved = subprocess.run(
            ["bash", "-c", printed.stdout], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert moved.returncode == 0, moved.stdout + moved.stderr
        assert f"spans: 30 here, 30 at http://{server.clickhouse}" in moved.stdout
        assert moved.stdout.endswith("Everything is there.\n")
    assert {view: server.count(view) for view in VIEWS} == counts


def test_a_backup_is_restored(make_gateway: Callable[..., Gateway]) -> None:
    """BACKUP writes the database beside its directory, and RESTORE brings back what was dropped."""
    gateway = make_gateway(config=ADMIN)
    counts = fill(gateway.start())
    backup = f"File('{gateway.data / 'backups' / 'monday'}')"
    assert "BACKUP_CREATED" in as_admin(gateway, f"BACKUP DATABASE tollgate TO {backup}")
    as_admin(gateway, "TRUNCATE TABLE spans_data")
    as_admin(gateway, "TRUNCATE TABLE calls_data")
    assert gateway.count("spans") == 0
    restored = "SETTINGS allow_non_empty_tables = true"
    assert "RESTORED" in as_admin(gateway, f"RESTORE DATABASE tollgate FROM {backup} {restored}")
    assert {view: gateway.count(view) for view in VIEWS} == counts
