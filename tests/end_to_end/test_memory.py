"""Memory: a gateway that is sent more than it may hold refuses, instead of growing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import PROTOBUF, request, span, to_protobuf, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

MIB = 1 << 20
START = 1_795_305_200_000_000_000
LIMIT, SENDERS, TIMES, SPANS = 500 * MIB, 16, 8, 100
CONFIG = f"service: {{memory_limit: {LIMIT}}}"
PADDING = [{"key": "padding", "value": {"stringValue": "x" * 60_000}}]


def body(sender: int) -> bytes:
    """A sender's request, of about 6 MB; sent again, its spans count once."""
    ids = range(sender * SPANS + 1, (sender + 1) * SPANS + 1)
    spans = (span("e" * 32, f"{one:016x}", START + one, attributes=PADDING) for one in ids)
    return to_protobuf(request(*spans)).SerializeToString()


def resident(pid: int) -> int:
    """Bytes of memory that are not the files it maps."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return kilobytes << 10


@pytest.mark.slow
def test_too_much_at_once_is_refused_and_comes_later(make_gateway: Callable[..., Gateway]) -> None:
    """Senders of far more than the limit are told to try again, in bounded memory, and in the end all is stored."""
    gateway = make_gateway(config=CONFIG).start()
    worker = gateway.status()["workers"][0]["pid"]
    refused: list[int] = []
    most = 0

    bodies = [body(sender) for sender in range(SENDERS)]

    def send(sent: bytes) -> None:
        for _ in range(TIMES):
            while (answer := gateway.post(sent, PROTOBUF)).status != 200:
                assert answer.status == 503
                refused.append(int(answer.headers["Retry-After"]))
                time.sleep(0.2)  # sooner than a sender would, and without an end

    threads = [threading.Thread(target=send, args=(sent,)) for sent in bodies]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, resident(worker))
        time.sleep(0.02)
    assert refused
    assert all(delay > 0 for delay in refused)
    until(gateway.is_drained, 60)
    assert gateway.count("spans") == SENDERS * SPANS
    assert most < 1.5 * LIMIT, f"{most // MIB} MiB"
    assert gateway.ledger_closes()
