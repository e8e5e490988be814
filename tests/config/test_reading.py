"""Models: strict types, both readings of a substitution, and sentences for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from config import ComponentId, ConfigError, Endpoint, Model, Secret, load, read


class Inner(Model):
    """A nested section."""

    count: int = Field(default=0, ge=0)
    ratio: float = 1.0


class Outer(Model):
    """Fields of every kind that settings use."""

    name: str = "x"
    flag: bool = False
    maybe: int | None = None
    either: int | str = 0
    numbers: tuple[int, ...] = ()
    names: frozenset[str] = frozenset()
    secrets: list[Secret] = Field(default_factory=list)
    folder: Path = Path()
    color: Literal["red", "green"] = "red"
    inner: Inner = Inner()
    inners: dict[str, Inner] = Field(default_factory=dict)
    optional: Inner | None = None
    raw: dict[str, Any] | None = None


def problems(data: object, model: type[Model] = Outer, place: str = "exporters::x") -> tuple[str, ...]:
    """The lines that this data is refused with."""
    with pytest.raises(ConfigError) as caught:
        read(model, data, place)
    return caught.value.lines


def substituted(tmp_path: Path, text: str, **environ: str) -> dict[str, Any]:
    """The settings that a file with this text holds."""
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return load([path], environ)


def test_a_substitution_is_text_for_text_and_a_value_elsewhere(tmp_path: Path) -> None:
    """The same variable fills fields of different types, each exactly, at any depth."""
    text = """
    name: ${env:ONE}
    maybe: ${env:ONE}
    numbers: ["${env:ONE}", 2]
    names: ["${env:ONE}"]
    secrets: ["${env:ONE}"]
    folder: ${env:ONE}
    flag: ${env:TRUE}
    inner: {count: "${env:ONE}", ratio: "${env:ONE}"}
    inners: {a: {count: "${env:ONE}"}}
    optional: ${env:NOTHING}
    """
    outer = read(Outer, substituted(tmp_path, text, ONE="1", TRUE="true", NOTHING=""))
    assert outer == Outer(
        name="1",
        maybe=1,
        numbers=(1, 2),
        names=frozenset({"1"}),
        secrets=[Secret("1")],
        folder=Path("1"),
        flag=True,
        inner=Inner(count=1, ratio=1.0),
        inners={"a": Inner(count=1)},
        optional=None,
    )
    assert type(outer.name) is str
    assert type(next(iter(outer.names))) is str


@pytest.mark.parametrize("raw", ["0123", "yes", "true", "1e5", "12345678901234567890", "null", "", " x "])
def test_text_from_a_variable_stays_exactly_that(tmp_path: Path, raw: str) -> None:
    """A numeric key, a leading zero or a yes survives into every field of text."""
    outer = read(Outer, substituted(tmp_path, 'name: ${env:X}\nsecrets: ["${env:X}"]', X=raw))
    assert (outer.name, outer.secrets[0].reveal()) == (raw, raw)


def test_types_are_strict() -> None:
    """Text is no number, a number is no text, and only true and false are booleans; the sentences name the remedy."""
    data = {"name": 12, "flag": "t", "maybe": "5", "numbers": [True, 1.0], "secrets": [123], "raw": [1], "folder": 1}
    assert problems(data) == (
        "exporters::x::name: must be text, but is a number; put it in quotes",
        "exporters::x::flag: must be true or false, but is text",
        "exporters::x::maybe: must be a whole number, but is text",
        "exporters::x::numbers::0: must be a whole number, but is true or false",
        "exporters::x::numbers::1: must be a whole number, but is a number",
        "exporters::x::secrets::0: must be text, but is a number; put it in quotes",
        "exporters::x::folder: must be a path, but is a number",
        "exporters::x::raw: must be a map, but is a list",
    )


def test_a_substitution_that_fits_no_reading_is_refused(tmp_path: Path) -> None:
    """The sentence speaks of the value that YAML reads, and does not show it."""
    data = substituted(tmp_path, "flag: ${env:ONE}\nmaybe: ${env:WORD}", ONE="1", WORD="hunter2")
    assert problems(data) == (
        "exporters::x::flag: must be true or false, but is a number",
        "exporters::x::maybe: must be a whole number, but is text",
    )


def test_unknown_keys_name_the_known_ones() -> None:
    """A misspelt key is answered with the closest one, at any depth."""
    assert problems({"inners": {"a": {"cuont": 1}, "b": {"zzz": 1}}}) == (
        'exporters::x::inners::a::cuont: is not a known key; did you mean "count"? (known keys: count, ratio)',
        "exporters::x::inners::b::zzz: is not a known key; remove it (known keys: count, ratio)",
    )


def test_choices_and_limits() -> None:
    """A value that is none of the choices, or beyond a limit, is told what is possible."""
    assert problems({"color": "gren", "inner": {"count": -1, "ratio": float("inf")}}) == (
        'exporters::x::color: must be "red" or "green"; did you mean "green"?',
        "exporters::x::inner::count: must be greater than or equal to 0",
        "exporters::x::inner::ratio: must be a finite number",
    )


def test_required_empty_and_wrong_sections() -> None:
    """A section may be empty when all its keys have defaults; what is required is named; text is no section."""

    class Section(Model):
        url: str
        inner: Inner = Inner()

    assert problems(None, Section, "") == ("url: is required; add it",)
    assert problems({"url": None, "inner": "x"}, Section, "") == (
        "url: must be text, but is empty; fill it in, or remove the key to use the default",
        "inner: must be a map, but is text",
    )
    assert read(Section, {"url": "u", "inner": None}).inner == Inner()


def test_rules_over_several_fields_keep_their_sentence() -> None:
    """A component's own rule appears at the component's place."""

    class Section(Model):
        low: int = 0
        high: int = 0

        @model_validator(mode="after")
        def _ordered(self) -> Section:
            if self.low > self.high:
                raise ValueError("low is above high; swap them")
            return self

    assert problems({"low": 1}, Section) == ("exporters::x: low is above high; swap them",)


def test_models_never_change_and_can_be_built_in_code() -> None:
    """Settings are values: fixed once made, equal when equal, and accept their own typed values."""
    outer = Outer(inner=Inner(count=1), secrets=[Secret("a")])
    assert read(Outer, outer) == outer
    assert Endpoint("a", 1) == Endpoint("a", 1)
    assert ComponentId("a/b") == "a/b"
    with pytest.raises(ValidationError):
        outer.name = "y"
