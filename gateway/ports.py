"""The ports that Tollgate listens on: all are claimed before anything is started, so that nothing is left half started.

Workers listen on the same ports with SO_REUSEPORT; the supervisor sees to it that nobody else does.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import TYPE_CHECKING

from config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import Endpoint


def bind_all(endpoints: Mapping[str, Endpoint], patience: float = 0) -> dict[str, socket.socket]:
    """A bound socket for each place in the settings; ConfigError with a line for each that cannot be had.

    `patience` is how many seconds to wait for ports that are in use.
    """
    bound: dict[str, socket.socket] = {}
    problems = []
    deadline = time.monotonic() + patience
    for place, endpoint in endpoints.items():
        try:
            bound[place] = _bind_patiently(endpoint, deadline)
        except (OSError, UnicodeError) as error:
            problems.append(f"{place}: {_sentence(endpoint, error)}")
    if problems:
        for listener in bound.values():
            listener.close()
        raise ConfigError(problems)
    return bound


def share(endpoint: Endpoint, *, listen: bool) -> socket.socket:
    """A socket on a port that others of this user may share; ConfigError if it cannot be had.

    One that does not listen gets no connections: it keeps the port from all who would have it alone.
    """
    # Of a listener, closed connections would keep others from the port for a minute without SO_REUSEADDR.
    options = (socket.SO_REUSEPORT, socket.SO_REUSEADDR) if listen else (socket.SO_REUSEPORT,)
    try:
        return _bind(endpoint, *options, listen=listen)
    except (OSError, UnicodeError) as error:
        raise ConfigError([_sentence(endpoint, error)]) from error


def _bind_patiently(endpoint: Endpoint, deadline: float) -> socket.socket:
    while True:
        try:
            # Only listening claims the port: two sockets with SO_REUSEADDR may both be bound to it.
            return _bind(endpoint, socket.SO_REUSEADDR, listen=True)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _bind(endpoint: Endpoint, *options: int, listen: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(address)
        if listen:
            listener.listen(1024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _sentence(endpoint: Endpoint, error: OSError | UnicodeError) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)) or error.errno == errno.EADDRNOTAVAIL:
        return f"{endpoint} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all addresses"
    if error.errno == errno.EADDRINUSE:
        return f"{endpoint} is in use by another program; stop that program, or choose another port"
    if error.errno == errno.EACCES:
        return f"{endpoint} may not be bound by this user; choose a port above 1023"
    return f"{endpoint} cannot be bound: {error.strerror or error}"
