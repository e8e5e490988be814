"""`tollgate validate`, `print-config` and `components`: what settings may say, and what they do say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from config import Settings
from gateway.cli.main import main
from gateway.components import EXPORTERS, RECEIVERS, read_components
from processors.registry import PROCESSORS

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
receivers: {otlp: }
processors: {genai: , privacy/strict: }
exporters: {clickhouse: {endpoint: "https://ch.example:8443", password: hunter2}}
destinations: {team: {api_keys: [tg_very_secret]}}
service:
  state: {url: "postgresql://tollgate:s3cret@db/state"}
  pipelines: {traces: {receivers: [otlp], processors: [genai], exporters: [clickhouse]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file with secrets in it."""
    path = tmp_path / "tollgate.yaml"
    path.write_text(FILE)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints, which succeeds."""
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def test_valid_settings_are_said_to_be_valid(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped settings, one's own, and a file over another are checked without starting anything."""
    over = file.with_name("over.yaml")
    over.write_text("service: {batch: {linger: 5ms}}")
    assert run(capsys, "validate") == "The settings are valid.\n"
    assert run(capsys, "validate", "--config", str(file)) == "The settings are valid.\n"
    assert run(capsys, "validate", "--config", str(file), "--config", str(over)) == "The settings are valid.\n"


@pytest.mark.parametrize("command", ["validate", "print-config"])
def test_a_component_s_problems_are_found_too(file: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """What only the component knows to be wrong is found without starting it, a line for each problem."""
    file.write_text(FILE.replace("{otlp: }", "{otlp: {protocols: {htp: , grpc: 5}}}"))
    assert main([command, "--config", str(file)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = sorted(shown.err.splitlines())
    assert first.startswith("tollgate: receivers::otlp::protocols::grpc: ")
    assert second.startswith('tollgate: receivers::otlp::protocols::htp: is not a known key; did you mean "http"?')


def test_no_secret_is_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys, passwords and the database's URL are masked, each in its place."""
    text = run(capsys, "print-config", "--config", str(file))
    for secret in ("hunter2", "tg_very_secret", "s3cret"):
        assert secret not in text
    printed = yaml.safe_load(text)
    assert printed["exporters"]["clickhouse"]["password"] == "****"
    assert printed["destinations"]["team"]["api_keys"] == ["****"]
    assert printed["service"]["state"]["url"] == "****"


def test_what_is_printed_is_what_is_in_force(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults that the file leaves out are printed, in all sections, and nothing is hidden that is no secret."""
    printed = yaml.safe_load(run(capsys, "print-config", "--config", str(file)))
    assert printed["receivers"]["otlp"]["protocols"]["http"] == {
        "endpoint": "127.0.0.1:4318",
        "max_request_body_size": "64MiB",
    }
    assert set(printed["processors"]) == {"genai", "privacy/strict"}
    assert printed["exporters"]["clickhouse"]["endpoint"] == "https://ch.example:8443"
    assert printed["service"]["spool"]["retain_stored"] == "10m"


def test_what_is_printed_can_be_read_again(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed settings are a settings file with the same meaning; printed again they are the same."""
    for words in ([], ["--config", str(file)]):
        printed = tmp_path / "printed.yaml"
        printed.write_text(run(capsys, "print-config", *words))
        assert run(capsys, "print-config", "--config", str(printed)) == printed.read_text()
        read_components(Settings.from_mapping(yaml.safe_load(printed.read_text())))


def test_all_components_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind's types are listed with a line of help."""
    listed = yaml.safe_load(run(capsys, "components"))
    assert {kind: list(types) for kind, types in listed.items()} == {
        "receivers": list(RECEIVERS),
        "processors": list(PROCESSORS),
        "exporters": list(EXPORTERS),
    }
    assert all(isinstance(summary, str) for types in listed.values() for summary in types.values())
