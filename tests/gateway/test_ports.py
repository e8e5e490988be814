"""Ports: all are had, or none is kept and every one that cannot be had is named with a remedy."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from config import ConfigError, Endpoint
from gateway.ports import _sentence, bind_all, share

if TYPE_CHECKING:
    from collections.abc import Callable

OTLP, TELEMETRY = "receivers::otlp::protocols::http::endpoint", "service::telemetry::endpoint"


def problems(endpoints: dict[str, Endpoint]) -> tuple[str, ...]:
    """The lines that these endpoints are refused with."""
    with pytest.raises(ConfigError) as caught:
        bind_all(endpoints)
    return caught.value.lines


def test_every_port_listens_and_does_not_block() -> None:
    """Each place has a socket that takes connections at once, ready for an event loop."""
    bound = bind_all({OTLP: Endpoint("127.0.0.1", 0), TELEMETRY: Endpoint("localhost", 0)})
    assert list(bound) == [OTLP, TELEMETRY]
    for listener in bound.values():
        with closing(listener), socket.create_connection(listener.getsockname()[:2]):
            assert not listener.getblocking()
            listener.accept()[0].close()


def test_nothing_to_bind_is_nothing() -> None:
    """A gateway with every protocol off binds nothing."""
    assert bind_all({}) == {}


def test_a_port_in_use_is_named_and_no_other_is_kept(free_port: Callable[[], int]) -> None:
    """One port that is taken refuses all: the others are free again afterwards."""
    free = Endpoint("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Endpoint("127.0.0.1", other.getsockname()[1])
        expected = f"{TELEMETRY}: {taken} is in use by another program; stop that program, or choose another port"
        assert problems({OTLP: free, TELEMETRY: taken}) == (expected,)
    bind_all({OTLP: free})[OTLP].close()


def test_a_port_named_twice_is_in_use(free_port: Callable[[], int]) -> None:
    """Two places with one port are a mistake that is found before anything starts."""
    endpoint = Endpoint("127.0.0.1", free_port())
    (line,) = problems({OTLP: endpoint, TELEMETRY: endpoint})
    assert line.startswith(f"{TELEMETRY}: {endpoint} is in use")


def test_every_problem_is_named() -> None:
    """All ports that cannot be had are named at once, in the settings' order."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Endpoint("127.0.0.1", other.getsockname()[1])
        lines = problems({"a": Endpoint("192.0.2.1", 0), "b": Endpoint("127.0.0.1", 0), "c": taken})
    assert lines == (
        "a: 192.0.2.1:0 is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all addresses",
        f"c: {taken} is in use by another program; stop that program, or choose another port",
    )


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_a_name_that_cannot_be_looked_up_is_named(host: str) -> None:
    """A host with an empty or endless label, which an Endpoint may have, is one line like any other."""
    (line,) = problems({OTLP: Endpoint.parse(f"{host}:4318")})
    assert line.startswith(f"{OTLP}: {host}:4318 is not an address of this machine")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "may not be bound by this user; choose a port above 1023"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all addresses",
        ),
        (OSError(errno.EAFNOSUPPORT, "Address family not supported"), "cannot be bound: Address family not supported"),
        (OSError("no text of the system's"), "cannot be bound: no text of the system's"),
    ],
)
def test_what_depends_on_the_machine_has_its_sentence_too(error: OSError, sentence: str) -> None:
    """Missing rights, an unknown name, an address family that is off, and anything else are said in words."""
    assert _sentence(Endpoint("::1", 80), error) == f"[::1]:80 {sentence}"


def test_listeners_share_a_port_that_nobody_else_can_have() -> None:
    """Workers listen on one port; whoever wants it alone is refused, even while no worker listens."""
    alone = bind_all({"": Endpoint("127.0.0.1", 0)})[""]
    endpoint = Endpoint("127.0.0.1", alone.getsockname()[1])
    with pytest.raises(ConfigError, match="in use"):
        share(endpoint, listen=True)
    alone.close()
    with share(endpoint, listen=False):
        with pytest.raises(ConfigError, match="in use"):
            bind_all({"here": endpoint})
        with share(endpoint, listen=True) as first, share(endpoint, listen=True), socket.socket() as client:
            client.connect(first.getsockname())
