"""Secrets, endpoints and component ids as values of settings models."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from config import ByteSize, ComponentId, ConfigError, Duration, Endpoint, Model, Secret, read, to_plain


class Values(Model):
    """One field of each type."""

    secret: Secret = Secret("")
    endpoint: Endpoint = Endpoint("::1", 4318)
    component: ComponentId = ComponentId("otlp")
    duration: Duration | None = None
    size: ByteSize = 0
    headers: dict[str, Secret] = Field(default_factory=dict)


def problem(**data: object) -> str:
    """The one line that these values are refused with."""
    with pytest.raises(ConfigError) as caught:
        read(Values, data, "exporters::x")
    (line,) = caught.value.lines
    return line


def test_a_secret_shows_itself_to_reveal_only() -> None:
    """Printing, formatting, dumping and copying a secret never show it; equality and emptiness still work."""
    secret = Secret("hunter2")
    values = read(Values, {"secret": "hunter2", "headers": {"Authorization": "hunter2"}})
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>9}", str([secret]), repr(values), str(values)]
    shown += [json.dumps(to_plain(values)), yaml.safe_dump(to_plain(values)), values.model_dump_json()]
    shown += [str(values.model_dump())]
    assert not [text for text in shown if "hunter2" in text]
    assert all("****" in text for text in shown)
    assert secret.reveal() == "hunter2"
    assert secret == copy.deepcopy(secret) == values.secret
    assert hash(secret) == hash(values.secret)
    assert secret != Secret("x")
    assert secret != "hunter2"
    assert secret
    assert not Secret("")


def test_a_refused_value_is_never_shown() -> None:
    """A secret in the wrong field is not repeated, neither by the error nor by its cause."""
    with pytest.raises(ConfigError) as caught:
        read(Values, {"endpoint": "hunter2", "size": "hunter2", "duration": "hunter2", "secret": ["hunter2"]})
    assert len(caught.value.lines) == 4
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_types_print_as_they_are_written() -> None:
    """The printed settings are settings again."""
    written = {
        "secret": "",
        "endpoint": "[::1]:4318",
        "component": "otlp/a",
        "duration": "1h30m",
        "size": "64MiB",
        "headers": {},
    }
    assert to_plain(read(Values, written)) == written
    assert to_plain(read(Values, {"secret": "s", "headers": {"a": "b"}}), redacted=False)["headers"] == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:4318", "127.0.0.1", 4318),
        ("localhost:0", "localhost", 0),
        ("[::1]:4317", "::1", 4317),
        ("click-house_1.internal:65535", "click-house_1.internal", 65535),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    """A host and a port, IPv6 in brackets, print as they were written."""
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port, str(endpoint)) == (host, port, text)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("localhost", "has no port; write host:port, such as 127.0.0.1:4318"),
        ("[::1]", "has no port; write host:port, such as 127.0.0.1:4318"),
        ("localhost:", "its port is not a number from 0 to 65535; write host:port, such as 127.0.0.1:4318"),
        ("localhost:65536", "its port is not a number from 0 to 65535; write host:port, such as 127.0.0.1:4318"),
        ("localhost:http", "its port is not a number from 0 to 65535; write host:port, such as 127.0.0.1:4318"),
        (":4318", "has no host; write 127.0.0.1 before the port, or 0.0.0.0 to listen on every address"),
        ("::1:4318", "an IPv6 address stands in brackets; write it like [::1]:4318"),
        ("[::x]:4318", "what stands in [ ] is not an IPv6 address; write one such as [::1]:4318"),
        ("http://a:1", "must be host:port without a scheme such as http://; write 127.0.0.1:4318"),
        ("a b:1", "its host is neither a name nor an address; write host:port, such as 127.0.0.1:4318"),
        (4318, "must be host:port, such as 127.0.0.1:4318"),
    ],
)
def test_refused_endpoints(value: object, sentence: str) -> None:
    """Each way to get an endpoint wrong has its own sentence."""
    assert problem(endpoint=value) == f"exporters::x::endpoint: {sentence}"


@given(st.text() | st.from_regex(r"[a-z0-9:\[\].]{1,20}", fullmatch=True))
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    """What is accepted prints as something that is accepted and means the same."""
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint


def test_component_ids() -> None:
    """An id is its type, and a name where there are several; it stays usable as text."""
    assert (ComponentId("otlp").type, ComponentId("otlp").name) == ("otlp", "")
    assert (ComponentId("otlp/a").type, ComponentId("otlp/a").name) == ("otlp", "a")
    assert read(Values, {"component": "otlp/a"}).component == "otlp/a"
    for text in ("", "/a", "otlp/", "otlp/a/b", "1otlp", "o tlp"):
        assert problem(component=text) == (
            "exporters::x::component: is not a component id; write type or type/name, such as otlp or otlp/internal"
        )
