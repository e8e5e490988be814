"""Durations and sizes: what is read, what is refused, and that printing and reading agree."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.quantities import format_byte_size, format_duration, parse_byte_size, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("10s", timedelta(seconds=10)),
        ("0s", timedelta(0)),
        ("1.5h", timedelta(minutes=90)),
        ("0.1s", timedelta(milliseconds=100)),
        ("7us", timedelta(microseconds=7)),
        ("7µs", timedelta(microseconds=7)),
        ("1m1ms", timedelta(minutes=1, milliseconds=1)),
    ],
)
def test_durations_are_go_s(text: str, duration: timedelta) -> None:
    """Durations are written as in Go and the Collector."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (10, "10 has no unit; write 10s for seconds, or another of h, m, s, ms, us"),
        (1.5, "1.5 has no unit; write 1.5s for seconds, or another of h, m, s, ms, us"),
        ("10", "10 has no unit; write 10s for seconds, or another of h, m, s, ms, us"),
        ("0", "0 has no unit; write 0s for seconds, or another of h, m, s, ms, us"),
        ("-1s", "is not a duration; write one such as 500ms, 10s or 1h30m (units: h, m, s, ms, us)"),
        ("1 s", "is not a duration; write one such as 500ms, 10s or 1h30m (units: h, m, s, ms, us)"),
        ("1d", "is not a duration; write one such as 500ms, 10s or 1h30m (units: h, m, s, ms, us)"),
        ("", "is not a duration; write one such as 500ms, 10s or 1h30m (units: h, m, s, ms, us)"),
        ("0.1us", "is finer than a microsecond; round it"),
        ("999999999999h", "is longer than a hundred years; use a shorter duration"),
        (True, "must be a duration such as 10s or 1h30m"),
        (None, "must be a duration such as 10s or 1h30m"),
        (["10s"], "must be a duration such as 10s or 1h30m"),
    ],
)
def test_refused_durations(value: object, sentence: str) -> None:
    """A number without a unit, and all else that is no duration, is refused with its remedy."""
    with pytest.raises(ValueError) as caught:
        parse_duration(value)
    assert str(caught.value) == sentence


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500)))
def test_a_printed_duration_reads_back(duration: timedelta) -> None:
    """No duration is changed by printing it."""
    assert parse_duration(format_duration(duration)) == duration


@given(st.text() | st.from_regex(r"[0-9.hmsuµ ]{1,12}", fullmatch=True))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """No text fails in another way, and none gives a negative duration."""
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("64MiB", 64 * 1024 * 1024),
        ("10MB", 10_000_000),
        ("1GiB", 1 << 30),
        ("1.5KiB", 1536),
        ("64 MiB", 64 << 20),
        ("64mib", 64 << 20),
        ("7B", 7),
        ("7", 7),
        (7, 7),
        (0, 0),
    ],
)
def test_sizes(value: object, size: int) -> None:
    """Units ending in iB count by 1024, the others by 1000; a plain number counts bytes."""
    assert parse_byte_size(value) == size


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("64M", '"M" is not a unit of size; use B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB'),
        ("-1", "is not a size; write one such as 64MiB or 10MB, or a whole number of bytes"),
        (-1, "is not a size; write one such as 64MiB or 10MB, or a whole number of bytes"),
        ("", "is not a size; write one such as 64MiB or 10MB, or a whole number of bytes"),
        ("0.5B", "is not a whole number of bytes; round it"),
        ("9999999999TiB", "is more than 64 bits can count; use a smaller size"),
        (True, "must be a size such as 64MiB, or a whole number of bytes"),
        (1.5, "must be a size such as 64MiB, or a whole number of bytes"),
        (None, "must be a size such as 64MiB, or a whole number of bytes"),
    ],
)
def test_refused_sizes(value: object, sentence: str) -> None:
    """Unknown units and what is no size are refused with their remedy."""
    with pytest.raises(ValueError) as caught:
        parse_byte_size(value)
    assert str(caught.value) == sentence


@given(st.integers(min_value=0, max_value=(1 << 63) - 1) | st.integers(0, 1 << 20).map(lambda n: n << 20))
def test_a_printed_size_reads_back(size: int) -> None:
    """No size is changed by printing it."""
    assert parse_byte_size(format_byte_size(size)) == size


@given(st.text() | st.from_regex(r"[0-9. kKMGTiB]{1,12}", fullmatch=True))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    """No text fails in another way, and none gives a negative size."""
    with suppress(ValueError):
        assert parse_byte_size(text) >= 0
