"""Logs: one JSON object a line or a readable line, always on standard error, with no local variable in a traceback.

Standard output is the commands' own, so that what they print can be piped: every test sees that nothing else is there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    """Give structlog and logging back as they were."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


class Stderr:
    """Standard error, which is no terminal here."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    @property
    def text(self) -> str:
        """All that was written so far; standard output has nothing."""
        out, err = self._capsys.readouterr()
        assert out == ""
        self._text += err
        return self._text

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines written so far."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Stderr:
    """What the test writes."""
    return Stderr(capsys)


def fail() -> None:
    """Raise with a secret in a local variable."""
    api_key = "tg_" + "secret"
    raise ValueError(f"a key of {len(api_key)} characters")


def test_json_is_one_object_a_line(stderr: Stderr) -> None:
    """Each event is one line with its level, time and fields, texts with line breaks too."""
    configure_logs("info", "json")
    log = structlog.get_logger()
    log.info("stored", rows=3, name="two\nlines")
    log.warning("late")
    first, second = stderr.events
    assert (first["event"], first["level"], first["rows"], first["name"]) == ("stored", "info", 3, "two\nlines")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", first["timestamp"])
    assert (second["event"], second["level"]) == ("late", "warning")


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_the_level_leaves_out_what_is_below(stderr: Stderr, level: str, expected: int) -> None:
    """The level is the least that is written."""
    configure_logs(level, "json")
    for method in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), method)("event")
    assert [event["level"] for event in stderr.events] == ["debug", "info", "warning", "error"][-expected:]


def test_a_logger_made_before_obeys_too(stderr: Stderr) -> None:
    """Modules make their loggers when they are imported, before the settings are known."""
    log = structlog.get_logger()
    configure_logs("error", "json")
    log.info("left out")
    log.error("written")
    assert [event["event"] for event in stderr.events] == ["written"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_local_variable(stderr: Stderr, style: str) -> None:
    """An error is written with where it came from, and without what the variables held: keys and prompts."""
    configure_logs("info", style)
    for error in (structlog.get_logger().error, logging.getLogger("library").error):
        try:
            fail()
        except ValueError as caught:
            error("it failed", exc_info=caught)
    text = stderr.text
    assert text.count("a key of 9 characters") == 2
    assert text.count("in fail" if style == "console" else '"name":"fail"') == 2
    assert "tg_secret" not in text
    if style == "json":
        assert [event["exception"][0]["exc_type"] for event in stderr.events] == ["ValueError", "ValueError"]


def test_libraries_are_heard_from_warnings_upwards(stderr: Stderr) -> None:
    """What libraries log comes out in the same form; their chatter does not."""
    configure_logs("debug", "json")
    library = logging.getLogger("library")
    library.info("chatter")
    library.warning("trouble %d", 7)
    (event,) = stderr.events
    assert (event["event"], event["level"]) == ("trouble 7", "warning")
    assert "timestamp" in event


def test_whatever_a_field_holds_is_written(stderr: Stderr) -> None:
    """A value that JSON does not know becomes its text."""
    configure_logs("info", "json")
    structlog.get_logger().info("odd", path=os.fsencode("a"), error=KeyError("x"), numbers={1: {2}})
    (event,) = stderr.events
    assert (event["path"], event["error"], event["numbers"]) == ("b'a'", "KeyError('x')", {"1": "{2}"})


@pytest.mark.parametrize("value", ["\udc80", 2**64], ids=["surrogate", "large number"])
def test_no_value_makes_logging_fail(stderr: Stderr, value: object) -> None:
    """A text that is not Unicode, as a file name may be, or a large number never makes a log call raise."""
    configure_logs("info", "json")
    structlog.get_logger().info("odd", value=value)
    assert len(stderr.events) == 1


def test_console_lines_are_for_people(stderr: Stderr) -> None:
    """On request the log is readable lines wherever it goes."""
    configure_logs("info", "console")
    structlog.get_logger().info("stored", rows=3)
    (line,) = _COLOURS.sub("", stderr.text).splitlines()
    assert re.fullmatch(r"\S+ \[info +\] stored +rows=3 *", line)


def test_auto_is_json_where_nobody_watches(stderr: Stderr) -> None:
    """Into a file or a pipe, `auto` is JSON."""
    configure_logs("info", "auto")
    structlog.get_logger().info("stored")
    assert stderr.events[0]["event"] == "stored"


def test_auto_is_console_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, `auto` is readable lines."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb") as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        configure_logs("info", "auto")
        structlog.get_logger().info("stored", rows=3)
        line = _COLOURS.sub("", screen.readline().decode())
    assert re.search(r"\[info +\] stored +rows=3", line)
