"""Lays attributes out as map columns: those of spans by type and with content apart, all others in two columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from exporters.clickhouse.columns import Maps
from otlp.attributes import BOOL, DOUBLE, INT, JSON, STRING
from otlp.content import IS_CONTENT
from otlp.types import texts

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.types import TextColumn

_NOT_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


def span_attribute_maps(attributes: Attributes) -> dict[str, Maps]:
    """The attributes of spans: content apart, the others by type. A column that would be empty is absent.

    Each distinct content text of a span is kept once; the keys of further copies lead to the key that has it.
    """
    if not len(attributes):
        return {}
    names = texts(attributes.keys)
    is_content = attributes.where(IS_CONTENT)
    maps = _content_maps(attributes, names, is_content.nonzero()[0]) if is_content.any() else {}
    for column, value_type, values in (
        ("SpanAttributesString", STRING, attributes.strings),
        ("SpanAttributesInt", INT, attributes.ints),
        ("SpanAttributesDouble", DOUBLE, attributes.doubles),
        ("SpanAttributesBool", BOOL, attributes.bools),
        ("SpanAttributesJson", JSON, attributes.jsons),
    ):
        if len(values):
            rows = ((attributes.type == value_type) & ~is_content).nonzero()[0]
            maps[column] = Maps(attributes.owner[rows], names[attributes.key[rows]], values[attributes.slot[rows]])
    return maps


def attribute_maps(name: str, attributes: Attributes) -> dict[str, Maps]:
    """The attributes of anything but spans: `name` and String, and `name` and Json for all other types.

    Json holds OTLP/JSON text.
    """
    names = texts([attributes.keys[code] for code in attributes.key.tolist()])
    is_string = attributes.type == STRING
    others = (~is_string).nonzero()[0]
    strings = attributes.strings[attributes.slot[is_string]]
    return {
        f"{name}String": Maps(attributes.owner[is_string], names[is_string], strings),
        f"{name}Json": Maps(attributes.owner[others], names[others], _otlp_json(attributes, others)),
    }


def _content_maps(attributes: Attributes, names: TextColumn, rows: np.ndarray) -> dict[str, Maps]:
    owner = attributes.owner[rows]
    keys, values = names[attributes.key[rows]], attributes.text(rows)
    holders: dict[tuple[int, str], int] = {}
    identities = zip(owner.tolist(), values, strict=True)
    holder = np.array([holders.setdefault(identity, place) for place, identity in enumerate(identities)])
    is_first = holder == np.arange(len(rows))
    copies = ~is_first
    return {
        "Content": Maps(owner[is_first], keys[is_first], values[is_first]),
        "ContentSameAs": Maps(owner[copies], keys[copies], keys[holder[copies]]),
    }


def _otlp_json(attributes: Attributes, rows: np.ndarray) -> TextColumn:
    """Values as OTLP/JSON text, whatever their type."""
    values = attributes.text(rows)
    for place, value_type in enumerate(attributes.type[rows].tolist()):
        if value_type == INT:
            values[place] = f'{{"intValue":"{values[place]}"}}'
        elif value_type == DOUBLE:
            values[place] = f'{{"doubleValue":{_NOT_FINITE.get(values[place], values[place])}}}'
        elif value_type == BOOL:
            values[place] = f'{{"boolValue":{values[place]}}}'
    return values
