"""Components: their sections are typed, their problems are named at their places, and each can be made."""

from __future__ import annotations

from typing import Any

import pytest

from config import DEFAULT_FILE, ComponentId, ConfigError, Endpoint, Settings, load
from gateway.components import EXPORTERS, RECEIVERS, Components, create_processor, read_components
from processors.registry import PROCESSORS

OTLP, CLICKHOUSE = ComponentId("otlp"), ComponentId("clickhouse")
MIB = 1 << 20


def settings(**sections: Any) -> Settings:
    """Settings with a receiver, an exporter and a pipeline, but for these sections."""
    pipelines = {"traces": {"receivers": ["otlp"], "exporters": ["clickhouse"]}}
    minimal = {"receivers": {"otlp": None}, "exporters": {"clickhouse": None}, "service": {"pipelines": pipelines}}
    return Settings.from_mapping(minimal | sections)


def components(**sections: Any) -> Components:
    """The components of those settings."""
    return read_components(settings(**sections))


def problems(**sections: Any) -> tuple[str, ...]:
    """The lines that those settings' components are refused with."""
    with pytest.raises(ConfigError) as caught:
        components(**sections)
    return caught.value.lines


def test_the_shipped_settings_have_typed_components() -> None:
    """The default file's sections become the documented addresses and limits."""
    shipped = read_components(Settings.from_mapping(load([DEFAULT_FILE], {})))
    protocols = shipped.receivers[OTLP].protocols
    assert protocols.http is not None
    assert (protocols.http.endpoint, protocols.http.max_request_body_size) == (Endpoint("127.0.0.1", 4318), 64 * MIB)
    assert protocols.grpc is not None
    assert (protocols.grpc.endpoint, protocols.grpc.max_request_body_size) == (Endpoint("127.0.0.1", 4317), 64 * MIB)
    assert list(shipped.processors) == ["privacy", "metadata", "genai", "cost"]
    assert shipped.exporters[CLICKHOUSE].is_embedded
    assert shipped.exporters[CLICKHOUSE].url == "http://127.0.0.1:8123"


def test_what_the_default_says_is_what_components_default_to() -> None:
    """An empty section gives what the shipped file shows."""
    shipped = read_components(Settings.from_mapping(load([DEFAULT_FILE], {})))
    implied = components()
    assert implied.receivers == shipped.receivers
    assert implied.exporters[CLICKHOUSE].url == shipped.exporters[CLICKHOUSE].url
    assert implied.exporters[CLICKHOUSE].database == shipped.exporters[CLICKHOUSE].database


@pytest.mark.parametrize("section", [None, {}])
def test_an_empty_section_means_the_defaults(section: dict[str, Any] | None) -> None:
    """`otlp:` alone, as YAML writes it, is the receiver with its defaults: both protocols are on."""
    protocols = components(receivers={"otlp": section}).receivers[OTLP].protocols
    assert protocols.http is not None
    assert protocols.grpc is not None


def test_a_protocol_that_is_not_named_is_off() -> None:
    """Naming one protocol turns the other off, and naming it is enough."""
    protocols = components(receivers={"otlp": {"protocols": {"http": None}}}).receivers[OTLP].protocols
    assert protocols.http is not None
    assert protocols.http.endpoint == Endpoint("127.0.0.1", 4318)
    assert protocols.grpc is None


def test_several_components_of_a_type_have_settings_of_their_own() -> None:
    """The name behind the slash tells them apart."""
    exporters = {"clickhouse": None, "clickhouse/second": {"database": "other"}}
    typed = components(exporters=exporters).exporters
    assert {str(name): kind.database for name, kind in typed.items()} == {
        "clickhouse": "tollgate",
        "clickhouse/second": "other",
    }


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    """A near miss is asked back, anything else is answered with the list."""
    assert problems(processors={"genia": None, "sampling/x": None}) == (
        'processors::genia: there is no component "genia"; did you mean "genai"?',
        'processors::sampling/x: there is no component "sampling"; there are cost, genai, metadata, privacy',
    )


def test_every_problem_of_every_section_is_named() -> None:
    """One start names all that is wrong, each at its place."""
    lines = problems(
        receivers={"otlp": {"protocols": {"http": {"endpoint": "nowhere"}, "gprc": None}}},
        processors={"prvacy": None},
        exporters={"clickhouse": {"endpoint": "https://ch:8443", "embedded": {}}},
    )
    assert [line.split(": ")[0] for line in lines] == [
        "receivers::otlp::protocols::http::endpoint",
        "receivers::otlp::protocols::gprc",
        "processors::prvacy",
        "exporters::clickhouse",
    ]


def test_what_this_version_does_not_do_is_said() -> None:
    """Several pipelines, or several receivers or exporters in one, are refused before anything starts."""
    several = {"receivers": ["otlp", "otlp/b"], "exporters": ["clickhouse", "clickhouse/b"]}
    one = {"receivers": ["otlp"], "exporters": ["clickhouse"]}
    assert problems(
        receivers={"otlp": None, "otlp/b": None},
        exporters={"clickhouse": None, "clickhouse/b": None},
        service={"pipelines": {"traces": several, "traces/b": one}},
    ) == (
        "service::pipelines: this version runs one pipeline; keep one of them",
        "service::pipelines::traces::receivers: this version takes one of these; keep one",
        "service::pipelines::traces::exporters: this version takes one of these; keep one",
    )


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_processor_can_be_made_from_its_defaults(name: str) -> None:
    """Each registered processor is made from an empty section, under its type or a name of its own."""
    for text in (name, f"{name}/own"):
        component = ComponentId.parse(text)
        typed = components(processors={text: None}).processors[component]
        assert callable(create_processor(component, typed))


def test_every_component_has_a_line_of_help() -> None:
    """`tollgate components` has something to say of each."""
    summaries = [summary for _, summary in (*RECEIVERS.values(), *EXPORTERS.values())]
    summaries += [kind.summary for kind in PROCESSORS.values()]
    assert all(summary and "\n" not in summary for summary in summaries)


@pytest.mark.parametrize("processors", [[], ["genai"], ["genai", "privacy"]])
def test_a_privacy_mode_needs_the_privacy_processor_first(processors: list[str]) -> None:
    """A destination in privacy mode is refused in a pipeline that would let its content past."""
    pipelines = {"traces": {"receivers": ["otlp"], "processors": processors, "exporters": ["clickhouse"]}}
    assert problems(
        processors={"genai": None, "privacy": None},
        destinations={"finance": {"privacy": {"mode": "content"}}},
        service={"pipelines": pipelines},
    ) == (
        (
            "service::pipelines::traces::processors: destination finance has a privacy mode, "
            "so the first processor must be privacy; put it first"
        ),
    )


def test_the_embedded_clickhouse_asks_others_for_passwords() -> None:
    """On an address that others can reach, a user without a password is refused before anything is started."""
    (line,) = problems(exporters={"clickhouse": {"embedded": {"endpoint": "0.0.0.0:8123"}}})
    assert line == (
        "exporters::clickhouse::embedded: listens on 0.0.0.0:8123, where others can reach it, but user default has no "
        "password; set users::default::password, or listen on 127.0.0.1"
    )
    users = {"default": {"password": "secret"}}
    components(exporters={"clickhouse": {"embedded": {"endpoint": "0.0.0.0:8123", "users": users}}})


@pytest.mark.parametrize(
    ("name", "user", "place", "what"),
    [
        ("boss", {"role": "admin"}, "users::boss", "has the role admin and no password"),
        ("a b", {}, "users::a b", "is not a user's name"),
        ("tollgate", {"password": "x"}, "users::tollgate", "is one of Tollgate's own users"),
        ("ann", {"password": "x", "password_sha256_hex": "a" * 64}, "users::ann", "has both password and"),
        ("ann", {"password_sha256_hex": "A"}, "users::ann::password_sha256_hex", ""),
        ("ann", {"role": "owner"}, "users::ann::role", "must be 'reader', 'writer' or 'admin'"),
        ("ann", {"max_memory_usage": "much"}, "users::ann::max_memory_usage", "is not a size"),
    ],
)
def test_unusable_users_of_the_embedded_clickhouse_are_refused(
    name: str, user: dict[str, str], place: str, what: str
) -> None:
    """What is wrong with a user is said with its place, and without its password."""
    (line,) = problems(exporters={"clickhouse": {"embedded": {"users": {name: user}}}})
    assert line.startswith(f"exporters::clickhouse::embedded::{place}")
    assert what in line
