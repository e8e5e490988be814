"""Several workers on the same ports: each with a spool of its own, kept running, and spoken for as one."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import is_running, request, span, until
from tests.end_to_end.traffic import START, Traffic, assert_stored_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

pytestmark = pytest.mark.slow
SETTINGS = "service: {workers: %d, spool: {segment_max_age: 100ms}}"


def pids(gateway: Gateway) -> list[int]:
    """The process ids of the workers that are ready."""
    return [worker["pid"] for worker in gateway.status()["workers"] if worker["ready"]]


def test_killed_workers_are_started_again_and_lose_nothing(make_gateway: Callable[..., Gateway]) -> None:
    """While workers are killed others answer, metrics never fall, and every acknowledged span is stored once."""
    gateway = make_gateway(config=SETTINGS % 2).start()
    trace_id = "a" * 32
    with Traffic(gateway, trace_id) as traffic:
        traffic.flows(5)
        accepted = 0.0
        for kill in range(1, 7):
            os.kill(until(lambda: pids(gateway))[0], signal.SIGKILL)
            traffic.flows(5)
            until(lambda kill=kill: gateway.metric("worker_restarts_total") == kill)
            until(lambda: len(pids(gateway)) == 2)
            now = gateway.metric("receiver_requests_total")
            assert now >= accepted
            accepted = now
    assert_stored_once(gateway, trace_id, traffic.acknowledged)
    assert {path.name for path in (gateway.data / "spool").iterdir()} == {"0", "1"}


def test_the_spools_of_workers_that_are_no_more_are_exported(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int]
) -> None:
    """After a start with fewer workers, what the others had accepted is stored all the same."""
    gateway = make_gateway(config=SETTINGS % 3)
    nowhere = f"exporters: {{clickhouse: {{embedded: null, endpoint: 'http://127.0.0.1:{free_port()}'}}}}"
    settings = gateway.directory / "settings.yaml"
    settings.write_text(f"{SETTINGS % 3}\n{nowhere}")
    gateway.start()
    trace_id = "b" * 32
    with Traffic(gateway, trace_id) as traffic:
        traffic.flows(100)
    gateway.stop(signal.SIGKILL)
    assert len([path for path in (gateway.data / "spool").glob("*/*") if path.suffix in {".open", ".sealed"}]) > 1
    settings.write_text(SETTINGS % 1)
    gateway.start()
    assert_stored_once(gateway, trace_id, traffic.acknowledged)


def test_workers_end_with_their_supervisor(make_gateway: Callable[..., Gateway]) -> None:
    """After kill -9 of the supervisor its workers end at once, and a new gateway starts right away."""
    gateway = make_gateway(config=SETTINGS % 2).start()
    workers = pids(gateway)
    gateway.stop(signal.SIGKILL)
    gateway.start()
    assert set(pids(gateway)).isdisjoint(workers)
    until(lambda: not any(is_running(pid) for pid in workers))
    gateway.deliver(request(span("c" * 32, "c" * 16, START)))


def test_a_worker_that_hangs_is_drained_of_its_work(make_gateway: Callable[..., Gateway]) -> None:
    """A stop waits for a worker that does not react no longer than it may, kills it, and loses nothing."""
    gateway = make_gateway(config="service: {workers: 2, shutdown_timeout: 3s}").start()
    gateway.deliver(request(*(span("d" * 32, f"{number:016x}", START + number) for number in range(1, 9))))
    os.kill(pids(gateway)[0], signal.SIGSTOP)
    assert gateway.stop(seconds=8) == 0
    assert "a worker does not end in time and is killed" in gateway.log
    gateway.start()
    until(gateway.is_drained)
    assert gateway.count("spans", "TraceId = {id:String}", id="d" * 32) == 8
