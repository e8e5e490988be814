"""Claims the ports that Tollgate listens on before anything else is started, so that nothing is left half started."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import Endpoint


def bind_all(endpoints: Mapping[str, Endpoint]) -> dict[str, socket.socket]:
    """A bound socket for each place in the settings; ConfigError with a line for each that cannot be had."""
    bound: dict[str, socket.socket] = {}
    problems = []
    for place, endpoint in endpoints.items():
        try:
            bound[place] = _bind(endpoint)
        except (OSError, UnicodeError) as error:
            problems.append(f"{place}: {_sentence(endpoint, error)}")
    if problems:
        for listener in bound.values():
            listener.close()
        raise ConfigError(problems)
    return bound


def _bind(endpoint: Endpoint) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Only listening claims the port: two sockets with SO_REUSEADDR may both be bound to it.
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
