"""Logs: readable lines on a terminal, one JSON object a line everywhere else; always to standard error."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_SHARED: tuple[Any, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
# structlog's own tracebacks show local variables, which hold keys and prompts.
_JSON_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logs(level: str, style: str, **fields: Any) -> None:
    """Set up structlog; `style` is console, json, or auto for whichever fits standard error.

    Libraries that use the standard library's logging come out the same way, from warnings upwards. `fields` are in
    every line.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(_dumps)
    )
    tracebacks = () if console else (_JSON_TRACEBACKS,)
    shared = (*_SHARED, partial(_add, fields))
    structlog.configure(
        processors=[*shared, *tracebacks, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[*shared, *tracebacks], processor=renderer)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # They log each fault that they also raise.
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Unfailing(io.TextIOBase):
    """A stream whose failures are borne: a log on a full disk must not stop what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose the text."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or lose it."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def _add(fields: Mapping[str, Any], _logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {**fields, **event}


def _dumps(event: Any, default: Any = str, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # text that is no UTF-8, a number of more than 64 bits
        return json.dumps(event, default=default)
