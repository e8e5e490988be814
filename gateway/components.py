"""All components by kind and type, and the step from a settings file's raw sections to their typed settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from config import ByteSize, ConfigError, Endpoint, Model, Settings, read
from config.errors import at, did_you_mean
from exporters.clickhouse.settings import ClickHouseSettings
from processors.registry import PROCESSORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import ComponentId
    from processors.base import Processor

_MIB = 1 << 20


class HttpSettings(Model):
    """OTLP over HTTP."""

    endpoint: Endpoint = Endpoint("127.0.0.1", 4318)
    max_request_body_size: ByteSize = 64 * _MIB


class GrpcSettings(Model):
    """OTLP over gRPC."""

    endpoint: Endpoint = Endpoint("127.0.0.1", 4317)
    max_request_body_size: ByteSize = 64 * _MIB


def _empty_as_defaults(value: Any) -> Any:
    return {} if value is None else value


class ProtocolSettings(Model):
    """A protocol that is not named is off; one that is named without settings has the defaults."""

    http: Annotated[HttpSettings | None, BeforeValidator(_empty_as_defaults)] = None
    grpc: Annotated[GrpcSettings | None, BeforeValidator(_empty_as_defaults)] = None


class OtlpSettings(Model):
    """The OTLP receiver."""

    protocols: ProtocolSettings = ProtocolSettings(http=HttpSettings(), grpc=GrpcSettings())

    @model_validator(mode="after")
    def _some_protocol(self) -> Self:
        if self.protocols.http is None and self.protocols.grpc is None:
            raise ValueError("has no protocol to listen on; name http, grpc or both under protocols")
        return self


RECEIVERS: dict[str, tuple[type[Model], str]] = {"otlp": (OtlpSettings, "takes traces over OTLP/HTTP and OTLP/gRPC")}
EXPORTERS: dict[str, tuple[type[Model], str]] = {
    "clickhouse": (ClickHouseSettings, "stores spans in ClickHouse, a server's or the embedded one")
}


@dataclass(frozen=True, slots=True)
class Components:
    """The typed settings of all configured components, by id."""

    receivers: Mapping[ComponentId, OtlpSettings]
    processors: Mapping[ComponentId, Model]
    exporters: Mapping[ComponentId, ClickHouseSettings]


def read_components(settings: Settings) -> Components:
    """Type every component's section; ConfigError with a line for every problem found."""
    problems: list[str] = []
    processors = {name: kind.settings for name, kind in PROCESSORS.items()}
    components = Components(
        _read_section("receivers", settings.receivers, {name: kind for name, (kind, _) in RECEIVERS.items()}, problems),
        _read_section("processors", settings.processors, processors, problems),
        _read_section("exporters", settings.exporters, {name: kind for name, (kind, _) in EXPORTERS.items()}, problems),
    )
    problems += _unsupported(settings) + _unprotected(settings)
    if problems:
        raise ConfigError(problems)
    return components


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """The components of the pipeline, with their typed settings."""

    receiver_id: ComponentId
    receiver: OtlpSettings
    processors: tuple[tuple[ComponentId, Model], ...]
    exporter_id: ComponentId
    exporter: ClickHouseSettings


def read_pipeline(settings: Settings) -> PipelineParts:
    """The one pipeline of the settings; ConfigError with a line for every problem found."""
    components = read_components(settings)
    (pipeline,) = settings.service.pipelines.values()
    receiver, exporter = pipeline.receivers[0], pipeline.exporters[0]
    return PipelineParts(
        receiver,
        components.receivers[receiver],
        tuple((name, components.processors[name]) for name in pipeline.processors),
        exporter,
        components.exporters[exporter],
    )


def create_processor(component: ComponentId, settings: Model) -> Processor:
    """The processor of a component id."""
    return PROCESSORS[component.type].create(settings)


def _read_section(
    section: str, raw: Mapping[ComponentId, Any], kinds: Mapping[str, type[Model]], problems: list[str]
) -> dict[ComponentId, Any]:
    typed = {}
    for component, data in raw.items():
        place = at(section, str(component))
        kind = kinds.get(component.type)
        if kind is None:
            remedy = did_you_mean(component.type, kinds, otherwise=f"there are {', '.join(sorted(kinds))}")
            problems.append(f'{place}: there is no component "{component.type}"; {remedy}')
            continue
        try:
            # Null, as `clickhouse:` alone in YAML gives, means the component's defaults.
            typed[component] = read(kind, data or {}, place)
        except ConfigError as error:
            problems.extend(error.lines)
    return typed


def _unprotected(settings: Settings) -> list[str]:
    """Pipelines that would store what a destination's privacy mode promises to drop."""
    private = [name for name, destination in settings.destinations.items() if destination.privacy.mode != "off"]
    if not private:
        return []
    return [
        f"{at('service', 'pipelines', name, 'processors')}: destination {private[0]} has a privacy mode, "
        "so the first processor must be privacy; put it first"
        for name, pipeline in settings.service.pipelines.items()
        if not pipeline.processors or pipeline.processors[0].type != "privacy"
    ]


def _unsupported(settings: Settings) -> list[str]:
    """What a settings file may say but this version does not do yet."""
    problems = []
    pipelines = settings.service.pipelines
    if len(pipelines) > 1:
        problems.append("service::pipelines: this version runs one pipeline; keep one of them")
    for name, pipeline in pipelines.items():
        problems.extend(
            f"{at('service', 'pipelines', name, role)}: this version takes one of these; keep one"
            for role, ids in (("receivers", pipeline.receivers), ("exporters", pipeline.exporters))
            if len(ids) > 1
        )
    return problems
