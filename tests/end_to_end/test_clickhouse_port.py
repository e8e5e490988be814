"""The embedded ClickHouse's port, as analysts use it: with their own scripts, and with nothing but curl."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import ask, request, span, until

if TYPE_CHECKING:
    from tests.end_to_end.harness import Gateway

TRACE_ID = "8" * 32
SCRIPT = """
import sys
import clickhouse_connect

client = clickhouse_connect.get_client(host="127.0.0.1", port=int(sys.argv[1]), database="tollgate")
result = client.query("SELECT SpanName, Duration FROM spans WHERE TraceId = {id:String}", {"id": sys.argv[2]})
print(result.result_rows)
"""


@pytest.fixture(scope="module", autouse=True)
def _stored(gateway: Gateway) -> None:
    """A span to ask for."""
    gateway.deliver(request(span(TRACE_ID, "1" * 16, 1_795_304_700_000_000_000)))
    until(lambda: gateway.count("spans", "TraceId = {id:String}", id=TRACE_ID) == 1)


def test_a_clickhouse_connect_script_queries_it(gateway: Gateway) -> None:
    """A user's script with clickhouse-connect in its default settings reads the stored span."""
    port = gateway.clickhouse.rpartition(":")[2]
    shown = subprocess.run([sys.executable, "-c", SCRIPT, port, TRACE_ID], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "[('work', 1000000)]\n"


def test_a_bare_http_request_queries_it(gateway: Gateway) -> None:
    """A query in the URL or in the body of a plain HTTP request is answered in the format it asks for."""
    sql = f"SELECT SpanName, Duration FROM tollgate.spans WHERE TraceId = '{TRACE_ID}' FORMAT CSV"
    expected = b'"work",1000000\n'
    assert ask(f"http://{gateway.clickhouse}/?query={urllib.parse.quote(sql)}").body == expected
    assert ask(f"http://{gateway.clickhouse}/", sql.encode()).body == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_queries_it(gateway: Gateway) -> None:
    """Curl posts a query and prints its result."""
    sql = f"SELECT count() FROM spans WHERE TraceId = '{TRACE_ID}'"
    url = f"http://{gateway.clickhouse}/?database=tollgate"
    shown = subprocess.run(["curl", "-sS", url, "--data-binary", sql], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (0, "1\n"), shown.stderr
