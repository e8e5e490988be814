"""What is wrong with the settings, one line for each problem: `section::key: what is wrong and what to do`.

Pydantic finds most problems; here its findings become sentences for the person who wrote the YAML.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

# Pydantic's error types that mean "this is not even the right kind of value".
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "is_instance_of": "a path",  # the one class that settings models name
}
_LEADING_SHOULD = re.compile(r"^(Input|List|Tuple|Dictionary|String|Value) should ")
_WORDS_FOR_VALUES = ((str, "text"), (bool, "true or false"), (int, "a number"), (float, "a number"), (dict, "a map"))


class ConfigError(Exception):
    """The settings cannot be used; `lines` holds every problem found, each with its place and its remedy."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__(self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def at(place: str, *keys: object) -> str:
    """The place of a key: `at("service", "batch", "linger")` is `service::batch::linger`."""
    return "::".join(str(part) for part in (place, *keys) if part != "")


def problem(place: str, sentence: str) -> str:
    """One line of a ConfigError; the place may be empty when the whole document is meant."""
    return f"{place}: {sentence}" if place else sentence


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """A question with the closest known name, or `otherwise` when nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else otherwise


def lines_from(error: ValidationError, *, model: type[BaseModel], prefix: str = "") -> list[str]:
    """Sentences for every finding of `error`, which came from validating `model` at the place `prefix`.

    No sentence shows the value itself: it may be a secret that slipped into the wrong field.
    """
    return [
        problem(at(prefix, *_keys(details)), _sentence(details, model))
        for details in error.errors(include_url=False, include_context=True)
    ]


def _keys(details: ErrorDetails) -> Sequence[int | str]:
    return [part for part in details["loc"] if part != "[key]"]  # pydantic marks errors in a map's key so


def _sentence(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "is required; add it"
    if kind == "extra_forbidden":
        return _unknown_key(str(details["loc"][-1]), _model_at(model, details["loc"][:-1]))
    return _about_value(kind, value, context, otherwise=_LEADING_SHOULD.sub("must ", details["msg"]))


def _about_value(kind: str, value: object, context: Mapping[str, Any], *, otherwise: str) -> str:
    if kind in _EXPECTED:
        return _wrong_kind(_EXPECTED[kind], value)
    if kind == "literal_error":
        return _not_a_choice(context, value)
    if kind in {"too_short", "too_long"}:
        return _wrong_length(kind, context)
    return otherwise


def _wrong_kind(expected: str, value: object) -> str:
    if value is None:
        return f"must be {expected}, but is empty; fill it in, or remove the key to use the default"
    found = next((words for kind, words in _WORDS_FOR_VALUES if isinstance(value, kind)), "a list")
    remedy = "; put it in quotes" if expected == "text" and found in {"a number", "true or false"} else ""
    return f"must be {expected}, but is {found}{remedy}"


def _not_a_choice(context: Mapping[str, Any], value: object) -> str:
    choices = re.findall(r"'([^']*)'", context["expected"])
    *others, last = [f'"{choice}"' for choice in choices]
    listed = f"{', '.join(others)} or {last}" if others else last
    close = did_you_mean(value, choices, otherwise="") if isinstance(value, str) else ""
    return f"must be {listed}" + (f"; {close}" if close else "")


def _wrong_length(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "too_short":
        return f"needs at least {context['min_length']} entry, but has {context['actual_length']}; add one"
    return f"can hold at most {context['max_length']} entries, but has {context['actual_length']}; remove some"


def _unknown_key(key: str, model: type[BaseModel] | None) -> str:
    known = sorted(model.model_fields) if model else []
    if not known:
        return "is not a known key, and there are none here; remove it"
    listed = ", ".join(known)
    return f"is not a known key; {did_you_mean(key, known, otherwise='remove it')} (known keys: {listed})"


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that `loc` leads to, so that its keys can be listed."""
    found: Any = model
    for part in loc:
        fields = getattr(found, "model_fields", None)
        # Parts that name no field are list positions, map keys or union members: the model behind them is the same.
        if fields and part in fields:
            found = _model_in(fields[str(part)].annotation)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _model_in(annotation: Any) -> Any:
    """The model inside an annotation such as `tuple[M, ...]`, `dict[str, M]` or `M | None`; None if there is none."""
    if get_origin(annotation) is None:
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return next((model for argument in get_args(annotation) if (model := _model_in(argument))), None)
