"""The settings as a whole: the shipped default, all problems at once, references, and printing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import DEFAULT_FILE, ComponentId, ConfigError, Endpoint, Secret, Settings, load, to_plain

OTLP, CLICKHOUSE = ComponentId("otlp"), ComponentId("clickhouse")
MINIMAL: dict[str, Any] = {
    "receivers": {"otlp": None},
    "processors": {"genai": None, "cost": None},
    "exporters": {"clickhouse": None},
    "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["clickhouse"]}}},
}


def default(**environ: str) -> Settings:
    """The shipped settings in this environment."""
    return Settings.from_mapping(load([DEFAULT_FILE], environ))


def problems(mapping: dict[str, Any]) -> tuple[str, ...]:
    """The lines that these settings are refused with."""
    with pytest.raises(ConfigError) as caught:
        Settings.from_mapping(mapping)
    return caught.value.lines


def with_pipeline(**pipeline: Any) -> dict[str, Any]:
    """Valid settings but for these keys of the pipeline."""
    return {**MINIMAL, "service": {"pipelines": {"traces": {**TRACES, **pipeline}}}}


TRACES = {"receivers": ["otlp"], "processors": ["genai"], "exporters": ["clickhouse"]}


def test_the_shipped_default_is_valid() -> None:
    """Without any variable the default is the documented one: addresses, limits, pipeline, no key."""
    settings = default()
    service = settings.service
    assert settings.destinations["default"].api_keys == ()
    assert settings.destinations["default"].privacy.mode == "off"
    assert service.data_directory == Path("data")
    assert service.state_url == Secret("sqlite:///data/state.db")
    assert (service.batch.max_size, service.batch.linger) == (64 << 20, timedelta(milliseconds=10))
    assert (service.spool.segment_max_size, service.spool.segment_max_age) == (16 << 20, timedelta(seconds=1))
    assert service.spool.retain_stored == timedelta(minutes=10)
    assert service.shutdown_timeout == timedelta(seconds=8)
    assert service.pipelines["traces"].processors == ("privacy", "metadata", "genai", "cost")
    assert service.telemetry.endpoint == Endpoint("127.0.0.1", 13133)
    assert settings.receivers[OTLP] == {
        "protocols": {
            "http": {"endpoint": "127.0.0.1:4318", "max_request_body_size": "64MiB"},
            "grpc": {"endpoint": "127.0.0.1:4317", "max_request_body_size": "64MiB"},
        }
    }
    assert settings.exporters[CLICKHOUSE] == {
        "embedded": {
            "path": "",
            "endpoint": "127.0.0.1:8123",
            "max_server_memory_usage": 0,
            "min_free_disk": "1GiB",
            "users": {"default": {"password": ""}},
        },
        "database": "tollgate",
    }


def test_what_the_default_says_is_what_the_models_default_to() -> None:
    """Leaving a section out of one's own file gives what the shipped file shows."""
    shown, implied = to_plain(default()), to_plain(Settings.from_mapping(MINIMAL))
    shown["service"].pop("pipelines")
    implied["service"].pop("pipelines")
    assert shown["service"] == implied["service"]
    assert shown["destinations"] == implied["destinations"]


def test_the_environment_sets_the_default_s_key_folder_and_addresses() -> None:
    """A container needs no file of its own to move data and ports; a numeric key keeps its text."""
    settings = default(
        TOLLGATE_API_KEY="0012345",
        TOLLGATE_DATA="/data",
        TOLLGATE_HTTP_ENDPOINT="0.0.0.0:1",
        TOLLGATE_GRPC_ENDPOINT="0.0.0.0:2",
        TOLLGATE_CLICKHOUSE_ENDPOINT="0.0.0.0:3",
        TOLLGATE_TELEMETRY_ENDPOINT="0.0.0.0:4",
    )
    protocols = (settings.receivers[OTLP] or {})["protocols"]
    assert settings.destinations["default"].api_keys == (Secret("0012345"),)
    assert settings.service.data_directory == Path("/data")
    assert settings.service.state_url == Secret("sqlite:////data/state.db")
    assert (protocols["http"]["endpoint"], protocols["grpc"]["endpoint"]) == ("0.0.0.0:1", "0.0.0.0:2")
    assert (settings.exporters[CLICKHOUSE] or {})["embedded"]["endpoint"] == "0.0.0.0:3"
    assert settings.service.telemetry.endpoint == Endpoint("0.0.0.0", 4)


def test_minimal_settings_have_one_destination() -> None:
    """Receivers, exporters and pipelines are enough; the destination is then called default."""
    settings = Settings.from_mapping(MINIMAL)
    assert list(settings.destinations) == ["default"]
    assert settings.service.pipelines["traces"].processors == ()


@pytest.mark.parametrize("empty", [{}, {"service": None}, {"receivers": None, "exporters": None, "service": {}}])
def test_what_is_required_is_named(empty: dict[str, Any]) -> None:
    """Without receivers, exporters or pipelines there is nothing to run."""
    lines = problems(empty)
    assert {line.split(":: ")[0].split(": ")[0] for line in lines} <= {
        "receivers",
        "exporters",
        "service",
        "service::pipelines",
    }
    assert all(line.endswith("is required; add it") for line in lines)


def test_all_problems_are_found_at_once() -> None:
    """Wrong fields, unknown keys and broken references are reported together, one line each."""
    mapping = {
        **MINIMAL,
        "procesors": {},
        "destinations": {
            "v1": {},
            "Big": None,
            "a": {"api_keys": [123, "a b", "same"], "privacy": {"mode": True}},
            "b": {"api_keys": ["same", ""]},
        },
        "service": {
            "batch": {"linger": 10, "max_size": 0},
            "pipelines": {"traces": {**TRACES, "processors": ["geni"]}, "metrics": TRACES},
            "telemetry": {"logs": {"level": "trace"}},
        },
    }
    assert sorted(problems(mapping)) == sorted(
        [
            (
                'procesors: is not a known key; did you mean "processors"? '
                "(known keys: destinations, exporters, processors, receivers, service)"
            ),
            "destinations::v1: is part of the URL /v1/traces and cannot name a destination; choose another name",
            (
                "destinations::Big: is not a destination's name; use 1 to 63 of a-z, 0-9, _ and -, "
                "and begin with a letter or digit"
            ),
            "destinations::a::api_keys::0: must be text, but is a number; put it in quotes",
            (
                "destinations::a::api_keys::1: holds a character that no header can carry; "
                "use printable ASCII without spaces"
            ),
            'destinations::a::privacy::mode: must be "off" or "content"',
            "destinations::b::api_keys::0: is the same key as destinations::a::api_keys::2; remove one of them",
            "service::batch::linger: 10 has no unit; write 10s for seconds, or another of h, m, s, ms, us",
            "service::batch::max_size: must be greater than 0",
            "service::pipelines::metrics: is not a pipeline's id; name it traces or traces/name",
            'service::pipelines::traces::processors: "geni" is not configured under processors; did you mean "genai"?',
            'service::telemetry::logs::level: must be "debug", "info", "warning" or "error"',
        ]
    )


def test_references_name_the_closest_component_or_the_remedy() -> None:
    """A reference to nothing, and one given twice, is a problem of the pipeline that holds it."""
    assert problems(with_pipeline(processors=["geni", "genai", "genai"], exporters=["kafka"])) == (
        'service::pipelines::traces::processors: "geni" is not configured under processors; did you mean "genai"?',
        'service::pipelines::traces::processors: "genai" is listed twice; keep one of them',
        (
            'service::pipelines::traces::exporters: "kafka" is not configured under exporters; '
            "add it to exporters, or remove it here"
        ),
    )


def test_a_pipeline_needs_both_ends() -> None:
    """A pipeline without a receiver or an exporter moves nothing; service needs at least one pipeline."""
    assert problems(with_pipeline(receivers=[], exporters=None)) == (
        "service::pipelines::traces::receivers: needs at least 1 entry, but has 0; add one",
        (
            "service::pipelines::traces::exporters: must be a list, but is empty; "
            "fill it in, or remove the key to use the default"
        ),
    )
    assert problems({**MINIMAL, "service": {"pipelines": None}}) == (
        "service::pipelines: needs at least 1 entry, but has 0; add one",
    )


def test_named_pipelines_and_unused_components_are_fine() -> None:
    """Several pipelines may run; what no pipeline names is ignored."""
    mapping = {**MINIMAL, "service": {"pipelines": {"traces": TRACES, "traces/copy": TRACES}}}
    assert set(Settings.from_mapping(mapping).service.pipelines) == {"traces", "traces/copy"}


@pytest.mark.parametrize("mode", ["off", False])
def test_a_bare_off_is_off(mode: object) -> None:
    """YAML 1.1 readers deliver false where the file says off."""
    mapping = {**MINIMAL, "destinations": {"default": {"privacy": {"mode": mode}}}}
    assert Settings.from_mapping(mapping).destinations["default"].privacy.mode == "off"


def test_printing_shows_no_secret() -> None:
    """Neither the printed settings nor their repr show a key, a URL or what stands in a component's section."""
    mapping = {
        **MINIMAL,
        "exporters": {"clickhouse": {"password": "hunter2", "ports": [1], "secure": True}},
        "destinations": {"default": {"api_keys": ["hunter2"]}},
        "service": {**MINIMAL["service"], "state": {"url": "postgresql://u:hunter2@db/x"}},
    }
    settings = Settings.from_mapping(mapping)
    plain = to_plain(settings, redacted=True)
    assert plain["exporters"] == {"clickhouse": {"password": "****", "ports": ["****"], "secure": True}}
    assert plain["destinations"]["default"]["api_keys"] == ["****"]
    assert plain["service"]["state"] == {"url": "****"}
    assert plain["service"]["batch"] == {"max_size": "64MiB", "linger": "10ms"}
    assert plain["service"]["telemetry"]["endpoint"] == "127.0.0.1:13133"
    assert "hunter2" not in repr(settings) + str(settings) + yaml.safe_dump(plain)


def test_printed_settings_are_settings() -> None:
    """What is printed unredacted reads back as the same settings."""
    settings = default(TOLLGATE_API_KEY="key")
    printed = yaml.safe_load(yaml.safe_dump(to_plain(settings, redacted=False)))
    assert Settings.from_mapping(printed) == settings
