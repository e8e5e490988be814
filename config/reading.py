"""The base of all settings models, and the one way from plain data to a model.

Models are strict, because YAML already says what is a number and what is text; two things it cannot say are added here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from config.errors import ConfigError, lines_from
from config.substitution import Substituted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

# YAML has one kind of list and writes paths as text; a strict model would refuse both where it wants these.
_FROM_LIST: dict[str, Callable[[list[Any]], object]] = {
    "tuple_type": tuple,
    "set_type": set,
    "frozen_set_type": frozenset,
}


class Model(BaseModel):
    """A part of the settings: unknown keys are refused, types are strict, values never change or show in errors.

    Fields may be annotated with plain types. A `Substituted` value is taken as text where text is accepted and as its
    YAML value elsewhere; lists become tuples and sets, text becomes a Path; an empty section means its defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if data is None:
            data = {}
        while True:
            try:
                return validate(data)
            except ValidationError as error:
                read_otherwise = data
                for details in error.errors(include_url=False):
                    read_otherwise = _reread(read_otherwise, details["loc"], details)
                if read_otherwise is data:
                    raise
                data = read_otherwise


def read(model: type[M], data: object, place: str = "") -> M:
    """`data`, as loaded from YAML, as a `model`; ConfigError with one line for each problem, named from `place` on."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(lines_from(error, model=model, prefix=place)) from None


def _reread(data: Any, loc: Sequence[int | str], details: ErrorDetails) -> Any:
    """`data` with the refused value at `loc` read the other way; `data` itself if there is no other way."""
    if isinstance(data, str) and details["type"] == "is_instance_of" and details["ctx"]["class"] == "Path" and data:
        return Path(str(data))
    if isinstance(data, Substituted):
        return data.value
    for depth, key in enumerate(loc):
        # Parts of `loc` that lead nowhere name a union's member, not a key.
        if isinstance(data, Mapping) and key in data:
            item = _reread(data[key], loc[depth + 1 :], details)
            return data if item is data[key] else {**data, key: item}
        if isinstance(data, (list, tuple)) and isinstance(key, int) and key < len(data):
            item = _reread(data[key], loc[depth + 1 :], details)
            return data if item is data[key] else type(data)([*data[:key], item, *data[key + 1 :]])
    if isinstance(data, list) and details["type"] in _FROM_LIST:
        return _FROM_LIST[details["type"]](data)
    return data
