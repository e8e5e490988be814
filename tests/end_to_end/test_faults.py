"""Faults between the gateway and ClickHouse: what was acknowledged is stored once, and the log says what failed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from gateway.sample import sample_delivery
from tests.end_to_end.harness import Gateway, until
from tests.exporters.clickhouse.embedded.server import Server, running
from tests.faults.proxy import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = 1_795_304_410_000_000_000
INSERT = b"INSERT INTO `tollgate`.`"
CALLS = INSERT + b"calls_data`"
CONFIG = """
exporters:
  clickhouse:
    embedded: null
    endpoint: %s
    username: admin
    password: admin's
    timeout: 1s
    retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}
service: {spool: {segment_max_age: 50ms}}
"""


@dataclass(slots=True)
class Stage:
    """A gateway, a proxy, and a ClickHouse server behind it."""

    gateway: Gateway
    proxy: FaultProxy
    server: Server
    generations: list[str] = field(default_factory=list)
    told_before: int = 0

    def send(self) -> None:
        """Have a delivery of three spans, one of them a call, acknowledged."""
        self.generations.append(f"gen-1795304410-{len(self.generations):020}")
        self.gateway.deliver(sample_delivery(self.generations[-1], START))

    def alter(self, table: str, change: str) -> None:
        """Change a table as an operator does."""
        answer = self.server.ask(f"ALTER TABLE tollgate.{table} {change}", "admin")
        assert answer.status == 200, answer.text

    def fails(self, told: str) -> None:
        """Wait until an insert failed, and the log says why."""
        failures = self.gateway.metric("exporter_failures_total")
        until(
            lambda: (
                any(told in error for error in self.news())
                and self.gateway.metric("exporter_failures_total") > failures
            )
        )

    def news(self) -> list[str]:
        """What the log says of failed inserts, without what was `told_before`."""
        lines = [json.loads(line) for line in self.gateway.log.splitlines() if line.startswith("{")]
        failures = [line["error"] for line in lines if line["event"] == "an insert failed and is tried again"]
        return failures[self.told_before :]

    def all_is_stored_once(self) -> None:
        """Every delivery is in both views once, and nothing was refused."""
        until(self.gateway.is_drained)
        count = len(self.generations)
        for view, rows in (("spans", 3 * count), ("llm_calls", count)):
            (counts,) = self.gateway.query(f"SELECT count() AS rows, uniqExact(TraceId) AS traces FROM {view}")
            assert (counts["rows"], counts["traces"]) == (rows, count)
        assert not list((self.gateway.data / "dead-letter").glob("*"))
        assert self.gateway.metric("dead_lettered_spans_total") == 0
        assert self.gateway.ledger_closes()


@pytest.fixture(scope="module")
def whole_stage(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Stage]:
    """A stage for all these tests."""
    directory = tmp_path_factory.mktemp("faults")
    with running(directory, free_port) as server:
        place = urlsplit(server.url)
        with FaultProxy(place.hostname or "", place.port or 0) as proxy:
            gateway = Gateway(directory, free_port, config=CONFIG % proxy.url)
            gateway.clickhouse = place.netloc
            try:
                stage = Stage(gateway.start(), proxy, server)
                stage.send()
                until(gateway.is_drained)
                yield stage
            finally:
                gateway.stop()


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    """The stage without a fault, before and after."""
    whole_stage.told_before += len(whole_stage.news())
    yield whole_stage
    whole_stage.proxy.clear()


@pytest.mark.slow
def test_a_dead_connection(stage: Stage) -> None:
    """Connections that died unnoticed, were closed or can not be opened: a new one is made, later if need be."""
    for fault in (Fault.DEAD_IDLE, Fault.CLOSE_IDLE):
        stage.proxy.set(fault)
        stage.send()
        stage.all_is_stored_once()
    stage.proxy.set(Fault.REFUSE)
    stage.send()
    stage.fails("it cannot be reached")
    stage.proxy.clear()
    stage.all_is_stored_once()


@pytest.mark.slow
def test_a_read_only_replica(stage: Stage) -> None:
    """A table that may not be written to for a while is waited for."""
    stage.alter("spans_data", "MODIFY SETTING table_readonly = 1")
    stage.send()
    stage.fails("the table is read-only")
    stage.alter("spans_data", "MODIFY SETTING table_readonly = 0")
    stage.all_is_stored_once()


@pytest.mark.slow
def test_too_many_parts(stage: Stage) -> None:
    """A table with too many parts is waited for until merges have made them fewer."""
    assert stage.server.ask("SYSTEM STOP MERGES tollgate.spans_data", "admin").status == 200
    stage.send()
    until(stage.gateway.is_drained)
    stage.alter("spans_data", "MODIFY SETTING parts_to_throw_insert = 1, parts_to_delay_insert = 1")
    stage.send()
    stage.fails("the table has too many parts")
    assert stage.server.ask("SYSTEM START MERGES tollgate.spans_data", "admin").status == 200
    stage.alter("spans_data", "RESET SETTING parts_to_throw_insert, parts_to_delay_insert")
    stage.all_is_stored_once()


@pytest.mark.slow
def test_a_timeout_after_the_server_stored_the_rows(stage: Stage) -> None:
    """Rows whose confirmation never comes are sent again, and recognised."""
    unheard = stage.proxy.unheard
    stage.proxy.set(Fault.WITHHOLD, only=INSERT, times=1)
    stage.send()
    stage.fails("timed out")
    assert stage.proxy.unheard == unheard + 1
    stage.all_is_stored_once()


@pytest.mark.slow
def test_a_unit_stored_in_part(stage: Stage) -> None:
    """A segment whose spans are stored and whose calls are not: the calls follow, the spans are not doubled."""
    stage.alter("calls_data", "MODIFY SETTING table_readonly = 1")
    stage.send()
    stage.fails("the table is read-only")
    until(lambda: stage.gateway.count("spans") == 3 * len(stage.generations))
    assert stage.gateway.count("llm_calls") == len(stage.generations) - 1
    stage.alter("calls_data", "MODIFY SETTING table_readonly = 0")
    stage.all_is_stored_once()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 12, 200, -1])
def test_a_response_cut_off(stage: Stage, after: int) -> None:
    """An answer that ends before its end confirms nothing, wherever it is cut."""
    unheard = stage.proxy.unheard
    stage.proxy.set(Fault.CUT_RESPONSE, after=after, only=INSERT)
    stage.send()
    stage.fails("did not answer to the end")
    assert stage.proxy.unheard > unheard
    stage.proxy.clear()
    stage.all_is_stored_once()


@pytest.mark.slow
def test_a_request_cut_off(stage: Stage) -> None:
    """Of a request that does not arrive whole nothing is stored, and it is sent again."""
    stage.proxy.set(Fault.CUT_REQUEST, after=2000, only=INSERT)
    stage.send()
    stage.fails("did not answer to the end")
    assert stage.gateway.count("spans") == 3 * (len(stage.generations) - 1)
    stage.proxy.clear()
    stage.all_is_stored_once()


@pytest.mark.slow
def test_a_server_that_never_ends_its_answer(stage: Stage) -> None:
    """A server that sends a byte now and then holds the exporter no longer than four times the timeout."""
    stage.proxy.set(Fault.TRICKLE, seconds=0.2, only=CALLS, times=1)
    stage.send()
    stage.fails("did not finish its answer within 4 s")
    stage.all_is_stored_once()
