"""Settings that cannot be used: one line for each problem, with its place and remedy, and nothing is started."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.end_to_end.harness import TOLLGATE, Gateway, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def assert_refused(gateway: Gateway, *expected: str) -> None:
    """`tollgate serve` ends with a line for each of the expected texts, and leaves no file and no process."""
    process = gateway.launch()
    assert process.wait(20) == 1
    lines = gateway.log.splitlines()
    assert len(lines) == len(expected), gateway.log
    for line, text in zip(lines, expected, strict=True):
        assert line.startswith(f"tollgate: {text}")
    assert gateway.output == ""
    for endpoint in (gateway.http, gateway.grpc, gateway.clickhouse, gateway.operations):
        host, _, port = endpoint.partition(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


def test_every_wrong_setting_is_one_line(make_gateway: Callable[..., Gateway]) -> None:
    """Each wrong setting has one line with its place and remedy, and nothing is started or written."""
    config = "service: {batch: {lingr: 5ms}, shutdown_timeout: 8, pipelines: {traces: {processors: [genia]}}}"
    gateway = make_gateway(config=config)
    assert_refused(
        gateway,
        'service::batch::lingr: is not a known key; did you mean "linger"?',
        "service::shutdown_timeout: 8 has no unit; write 8s",
        'service::pipelines::traces::processors: "genia" is not configured under processors; did you mean "genai"?',
    )
    assert not gateway.data.exists()


def test_a_missing_settings_file_is_one_line(tmp_path: Path) -> None:
    """A --config that is not there ends in one line that names it."""
    shown = subprocess.run(
        [TOLLGATE, "serve", "--config", "nowhere.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("tollgate: nowhere.yaml")
    assert len(shown.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_line(make_gateway: Callable[..., Gateway]) -> None:
    """Each port that another program has is one line, and nothing is written."""
    gateway = make_gateway()
    places = {
        gateway.operations: "service::telemetry::endpoint",
        gateway.http: "receivers::otlp::protocols::http::endpoint",
        gateway.grpc: "receivers::otlp::protocols::grpc::endpoint",
        gateway.clickhouse: "exporters::clickhouse::embedded::endpoint",
    }
    with contextlib.ExitStack() as others:
        for endpoint in places:
            others.enter_context(socket.create_server(("127.0.0.1", int(endpoint.rpartition(":")[2]))))
        assert gateway.launch().wait(20) == 1
    assert gateway.log.splitlines() == [
        f"tollgate: {place}: {endpoint} is in use by another program; stop that program, or choose another port"
        for endpoint, place in places.items()
    ]
    assert not gateway.data.exists()


def test_a_data_directory_in_use_is_one_line(gateway: Gateway, make_gateway: Callable[..., Gateway]) -> None:
    """A second Tollgate on the same data directory ends in one line, and the first goes on."""
    second = make_gateway()
    second.environment["TOLLGATE_DATA"] = str(gateway.data)
    before = sorted(gateway.data.iterdir())
    assert_refused(second, f"service::data_directory: another Tollgate is using {gateway.data}; stop it")
    assert sorted(gateway.data.iterdir()) == before
    until(lambda: gateway.post(b"{}").status == 200)
