"""What a worker is told when it is started."""

from __future__ import annotations

from config import DEFAULT_FILE, Secret, Settings, load
from exporters.clickhouse.settings import Login
from gateway.components import read_pipeline
from gateway.worker.setup import Setup


def test_a_worker_has_the_settings_of_its_supervisor_secrets_among_them() -> None:
    """Settings and logins come over as they were, in one line."""
    environment = {"TOLLGATE_API_KEY": "a-key", "TOLLGATE_CLICKHOUSE_PASSWORD": "a-password"}
    settings = Settings.from_mapping(load([DEFAULT_FILE], environment))
    setup = Setup(3, settings, Login("writer", Secret("one\nsecret")), Login("owner", Secret("another")))
    line = setup.dump()
    assert line.count(b"\n") == 1
    loaded = Setup.load(line)
    assert loaded.number == 3
    assert loaded.settings == settings
    assert loaded.settings.destinations["default"].api_keys[0].reveal() == "a-key"
    assert read_pipeline(loaded.settings).exporter == read_pipeline(settings).exporter
    assert (loaded.writer, loaded.owner) == (setup.writer, setup.owner)
    assert loaded.writer.password.reveal() == "one\nsecret"


def test_a_setup_is_shown_without_its_secrets() -> None:
    """In a log or a traceback no secret of a setup can be read."""
    settings = Settings.from_mapping(load([DEFAULT_FILE], {"TOLLGATE_API_KEY": "a-key"}))
    shown = repr(Setup(0, settings, Login("writer", Secret("one")), Login("owner", Secret("another"))))
    assert "a-key" not in shown
    assert "another" not in shown
