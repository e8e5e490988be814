"""The settings as a whole: destinations and service with their types, component sections as plain data.

A component's own section is typed by the component, in its own layer, with `config.read`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - pydantic resolves the annotations of models at run time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SerializationInfo,
    ValidationError,
    field_serializer,
)

from config.errors import ConfigError, lines_from
from config.quantities import ByteSize, Duration
from config.reading import Model
from config.references import broken_references, shared_keys
from config.types import ComponentId, Endpoint, Secret

_MIB = 1 << 20
_DESTINATION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PIPELINE = re.compile(r"traces(?:/[A-Za-z0-9_.-]{1,63})?")
_HEADER_TEXT = re.compile(r"[!-~]*")


def _check_destination(name: str) -> str:
    if name == "v1":
        raise ValueError("is part of the URL /v1/traces and cannot name a destination; choose another name")
    if not _DESTINATION.fullmatch(name):
        raise ValueError(
            "is not a destination's name; use 1 to 63 of a-z, 0-9, _ and -, and begin with a letter or digit"
        )
    return name


def _check_pipeline(name: str) -> str:
    if not _PIPELINE.fullmatch(name):
        raise ValueError("is not a pipeline's id; name it traces or traces/name")
    return name


def _check_api_key(key: Secret) -> Secret:
    if not _HEADER_TEXT.fullmatch(key.reveal()):
        raise ValueError("holds a character that no header can carry; use printable ASCII without spaces")
    return key


def _without_empty(keys: tuple[Secret, ...]) -> tuple[Secret, ...]:
    # `${env:TOLLGATE_API_KEY:-}` leaves an empty text behind where the variable is not set: that is no key.
    return tuple(key for key in keys if key)


def _empty_as_map(value: Any) -> Any:
    return {} if value is None else value


def _off_as_text(value: Any) -> Any:
    # YAML 1.1 reads a bare `off` as false. This loader does not, but others that feed these settings may.
    return "off" if value is False else value


DestinationName = Annotated[str, AfterValidator(_check_destination)]
PipelineId = Annotated[str, AfterValidator(_check_pipeline)]
ApiKey = Annotated[Secret, AfterValidator(_check_api_key)]
Components = Annotated[dict[ComponentId, dict[str, Any] | None], BeforeValidator(_empty_as_map)]
PositiveSize = Annotated[ByteSize, Field(gt=0)]


class PrivacySettings(Model):
    """What is kept of the prompts and completions of a destination."""

    mode: Annotated[Literal["off", "content"], BeforeValidator(_off_as_text)] = "off"


class DestinationSettings(Model):
    """What a sender configures: its keys, and the policy for what it sends."""

    api_keys: Annotated[tuple[ApiKey, ...], AfterValidator(_without_empty)] = ()
    privacy: PrivacySettings = PrivacySettings()


class StateSettings(Model):
    """Where keys made at run time are kept; an SQLAlchemy URL, which may hold a password."""

    url: Secret = Secret("")


class BatchSettings(Model):
    """How many requests may be processed together, and how far apart batches begin while requests come fast."""

    max_size: PositiveSize = 64 * _MIB
    linger: Duration = timedelta(milliseconds=10)


class SpoolSettings(Model):
    """When a segment is sealed, how long it is kept once stored, and when senders are refused for want of room."""

    segment_max_size: PositiveSize = 16 * _MIB
    segment_max_age: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=1)
    retain_stored: Duration = timedelta(minutes=10)
    max_size: PositiveSize = 10 << 30
    min_free_disk: ByteSize = 512 * _MIB


class PipelineSettings(Model):
    """The way of a span: from any of the receivers, through the processors in order, to every exporter."""

    receivers: tuple[ComponentId, ...] = Field(min_length=1)
    processors: tuple[ComponentId, ...] = ()
    exporters: tuple[ComponentId, ...] = Field(min_length=1)


class LogSettings(Model):
    """The gateway's own log; `auto` is console on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class TelemetrySettings(Model):
    """What the gateway says about itself: its log, and where it answers /healthz, /readyz, /metrics and /status."""

    logs: LogSettings = LogSettings()
    endpoint: Endpoint = Endpoint("127.0.0.1", 13133)


class ServiceSettings(Model):
    """The gateway as a process: its data, its limits and its pipelines."""

    data_directory: Path = Path("data")
    workers: int = Field(default=1, ge=1, le=64)
    memory_limit: ByteSize = 0
    state: StateSettings = StateSettings()
    batch: BatchSettings = BatchSettings()
    spool: SpoolSettings = SpoolSettings()
    shutdown_timeout: Duration = timedelta(seconds=8)
    pipelines: Annotated[dict[PipelineId, PipelineSettings], BeforeValidator(_empty_as_map)] = Field(min_length=1)
    telemetry: TelemetrySettings = TelemetrySettings()

    @property
    def state_url(self) -> Secret:
        """The URL of the state database: the configured one, or a SQLite file in the data directory."""
        return self.state.url or Secret(f"sqlite:///{self.data_directory / 'state.db'}")


class Settings(Model):
    """All settings. The three component sections are plain data and may hold secrets, so they are never printed."""

    receivers: Components = Field(repr=False)
    processors: Components = Field(default_factory=dict, repr=False)
    exporters: Components = Field(repr=False)
    destinations: Annotated[dict[DestinationName, DestinationSettings], BeforeValidator(_empty_as_map)] = Field(
        default_factory=lambda: {"default": DestinationSettings()}
    )
    service: ServiceSettings

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """The settings that `load` read; ConfigError with a line for every problem found."""
        settings, lines = None, []
        try:
            settings = cls.model_validate(mapping)
        except ValidationError as error:
            lines = lines_from(error, model=cls)
        lines += broken_references(mapping) + shared_keys(mapping)
        if settings is None or lines:
            raise ConfigError(lines)
        return settings

    @field_serializer("receivers", "processors", "exporters", when_used="json")
    def _print_components(self, components: dict[str, Any], info: SerializationInfo) -> dict[str, Any]:
        revealed = isinstance(info.context, dict) and info.context.get("reveal") is True
        return {str(name): _plain(section, revealed=revealed) for name, section in components.items()}


def to_plain(model: BaseModel, *, redacted: bool = True) -> dict[str, Any]:
    """The settings as data to print as YAML or JSON; reading it back gives the same settings, secrets apart.

    Redacted, every secret is `****`, and so is every value in the component sections of `Settings`, where this layer
    cannot tell what is secret: put there what `to_plain` gives for the component's own settings.
    """
    return model.model_dump(mode="json", context={"reveal": not redacted})


def _plain(value: Any, *, revealed: bool) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item, revealed=revealed) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, revealed=revealed) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and revealed:
        return str(value)
    return value if revealed else "****"
