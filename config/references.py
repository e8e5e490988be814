"""What no single field can tell: that pipelines name configured components, and that each key has one destination.

The checks read the plain data, not the models, so that they also run, and report, when some field is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from config.errors import at, did_you_mean, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = ("receivers", "processors", "exporters")


def broken_references(settings: object) -> list[str]:
    """A line for each reference to a component that is not configured, and for each one listed twice."""
    lines = []
    service = _map(settings, "service")
    for pipeline_id, pipeline in _map(service, "pipelines").items():
        for kind in _KINDS:
            place = at("service::pipelines", pipeline_id, kind)
            configured = _map(settings, kind)
            seen: set[str] = set()
            for name in filter(None, _texts(pipeline, kind)):
                if name in seen:
                    lines.append(problem(place, f'"{name}" is listed twice; keep one of them'))
                elif name not in configured:
                    remedy = did_you_mean(name, configured, otherwise=f"add it to {kind}, or remove it here")
                    lines.append(problem(place, f'"{name}" is not configured under {kind}; {remedy}'))
                seen.add(name)
    return lines


def shared_keys(settings: object) -> list[str]:
    """A line for each API key that stands twice: a key tells which destination a sender means."""
    lines = []
    first_places: dict[str, str] = {}
    destinations = _map(settings, "destinations")
    for destination, keys in destinations.items():
        for index, key in enumerate(_texts(keys, "api_keys")):
            place = at("destinations", destination, "api_keys", index)
            if key and key in first_places:
                lines.append(problem(place, f"is the same key as {first_places[key]}; remove one of them"))
            first_places.setdefault(key, place)
    return lines


def _map(parent: object, key: str) -> Mapping[str, object]:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _texts(parent: object, key: str) -> Iterator[str]:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    # Other values are skipped: the field's own type has already refused them.
    for item in value if isinstance(value, (list, tuple)) else ():
        yield item if isinstance(item, str) else ""
