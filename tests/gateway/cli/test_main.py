"""The command line: its grammar, and how commands end."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway.cli.main import build_parser, main

TOLLGATE = str(Path(sys.executable).with_name("tollgate"))
COMMANDS = ["serve", "validate", "print-config", "components", "keys", "schema", "ledger", "deadletter", "send-sample"]


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def ends(*words: str) -> int | str | None:
    """The exit status of a command line that argparse itself answers."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def test_the_commands_are_the_documented_ones() -> None:
    """Scripts rely on the names."""
    commands = subcommands(build_parser())
    assert sorted(commands) == sorted(COMMANDS)
    assert list(subcommands(commands["keys"])) == ["create", "list", "revoke"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_s_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help is a success, on standard output, and shows how the command is used."""
    assert ends(command, "--help") == 0
    shown = capsys.readouterr()
    assert "example" in shown.out
    assert f"tollgate {command}" in shown.out.split("example")[1]
    assert shown.err == ""


def test_its_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints what is installed."""
    assert ends("--version") == 0
    assert capsys.readouterr().out == f"tollgate {version('tollgate')}\n"


@pytest.mark.parametrize("words", [(), ("srve",), ("serve", "--nonsense"), ("keys",), ("keys", "create")])
def test_a_wrong_command_line_is_status_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that cannot be understood shows the usage on standard error and does nothing."""
    assert ends(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: tollgate")


def test_every_problem_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that cannot be used are status 1 and a line for each problem, with the program's name."""
    (tmp_path / "empty.yaml").touch()
    files = [str(tmp_path / "empty.yaml"), str(tmp_path / "missing.yaml")]
    assert main(["validate", "--config", files[0], "--config", files[1]]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split(": ")[:2] for line in shown.err.splitlines()] == [["tollgate", file] for file in files]


def test_a_command_that_cannot_do_its_work_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command lacks is said in one sentence, status 1."""
    monkeypatch.delenv("TOLLGATE_API_KEY", raising=False)
    assert main(["send-sample"]) == 1
    assert capsys.readouterr().err == (
        "tollgate: TOLLGATE_API_KEY is not set: set it to a key that the gateway showed or `keys create` made.\n"
    )


def test_ctrl_c_is_status_130_without_a_traceback(tmp_path: Path) -> None:
    """A command that is interrupted says nothing and ends as shells expect."""
    fifo = tmp_path / "slow.yaml"
    os.mkfifo(fifo)
    command = [TOLLGATE, "validate", "--config", str(fifo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process, fifo.open("wb"):
        # The command has opened the file, and waits for what it holds.
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


def closed_output(*words: str, unbuffered: str) -> tuple[int, str]:
    """Status and errors of a command whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    try:
        ended = subprocess.run(
            [TOLLGATE, *words], stdout=writing, stderr=subprocess.PIPE, env=environment, text=True, check=False
        )
    finally:
        os.close(writing)
    return ended.returncode, ended.stderr


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    """`tollgate print-config | head` ends quietly."""
    assert closed_output("print-config", unbuffered="1") == (1, "")


def test_a_reader_that_has_gone_early_is_no_traceback() -> None:
    """`tollgate print-config | true` ends quietly, also where the output waits in a buffer until the end."""
    assert closed_output("print-config", unbuffered="") == (1, "")
