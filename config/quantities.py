"""Durations such as `1h30m` and sizes such as `64MiB`: how they are read, and how they are printed again.

A number without a unit is refused for durations, because nobody can tell seconds from milliseconds.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "µs": 1, "μs": 1}
_DURATION_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(h|ms|m|s|us|µs|μs)")
_MAX_MICROSECONDS = timedelta(days=36_500) // timedelta(microseconds=1)

_BINARY = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
_DECIMAL = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}
_BYTES = {unit.lower(): size for unit, size in (_BINARY | _DECIMAL | {"B": 1}).items()}
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_MAX_SIZE = (1 << 63) - 1
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")


def parse_duration(value: Any) -> timedelta:
    """Go's notation, without signs and nanoseconds: `500ms`, `1h30m`, `10s`, `0s`."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 10s or 1h30m")  # noqa: TRY004 - pydantic gathers ValueErrors
    if _NUMBER.fullmatch(value):
        raise ValueError(f"{value} has no unit; write {value}s for seconds, or another of h, m, s, ms, us")
    parts = _DURATION_PART.findall(value)
    if not parts or "".join(map("".join, parts)) != value:
        raise ValueError("is not a duration; write one such as 500ms, 10s or 1h30m (units: h, m, s, ms, us)")
    total = sum(Decimal(number) * _MICROSECONDS[unit] for number, unit in parts)
    if total != int(total):
        raise ValueError("is finer than a microsecond; round it")
    if total > _MAX_MICROSECONDS:
        raise ValueError("is longer than a hundred years; use a shorter duration")
    return timedelta(microseconds=int(total))


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same value: `1h30m`, `1s500ms`, `0s`."""
    rest, text = value // timedelta(microseconds=1), ""
    for unit in ("h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_byte_size(value: Any) -> int:
    """Bytes: a whole number, or a text with a unit: `64MiB` (1024 based) or `10MB` (1000 based)."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError("must be a size such as 64MiB, or a whole number of bytes")  # noqa: TRY004 - as above
    match = _SIZE.fullmatch(value)
    if not match:
        raise ValueError("is not a size; write one such as 64MiB or 10MB, or a whole number of bytes")
    number, unit = match.groups()
    if unit.lower() not in {"", *_BYTES}:
        raise ValueError(f'"{unit}" is not a unit of size; use B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB')
    total = Decimal(number) * _BYTES.get(unit.lower(), 1)
    if total != int(total):
        raise ValueError("is not a whole number of bytes; round it")
    if total > _MAX_SIZE:
        raise ValueError("is more than 64 bits can count; use a smaller size")
    return int(total)


def format_byte_size(value: int) -> str:
    """The size in the largest unit that divides it, 1024 based ones first: `64MiB`, `10MB`, `1500` bytes as `1500B`."""
    for unit, size in (_BINARY | _DECIMAL).items():
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}B"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
]
ByteSize = Annotated[
    int,
    BeforeValidator(parse_byte_size),
    PlainSerializer(format_byte_size, return_type=str, when_used="json"),
]
