"""`${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}` and `$$` in a text of the settings.

What a substitution yields is final: it is never searched for further substitutions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Scalar = str | int | float | bool | None

_TOKEN = re.compile(r"\$\$|\$\{(?P<inside>[^}]*)\}|(?P<open>\$\{)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CAPITAL_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_PLAIN_SCALARS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# No leading zeros: 0123 is an identifier far more often than a number, and YAML versions disagree on which number.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_BASED_INT = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")


class SubstitutionError(ValueError):
    """A substitution that cannot be carried out; the message is a sentence without its place."""


class Substituted(str):
    """The text that a substitution yielded where YAML would read it as a number, true, false or null.

    It is that text for a field of text (`0123`, `yes` and `1e5` stay as they are), and `value` for every other field.
    """

    __slots__ = ("value",)
    value: Scalar

    def __new__(cls, text: str, value: Scalar) -> Substituted:  # noqa: PYI034 - the class is not meant to be derived from
        """The text, and what YAML reads in it."""
        self = super().__new__(cls, text)
        self.value = value
        return self

    def __getnewargs__(self) -> tuple[str, Scalar]:  # type: ignore[override]  # what copying and pickling need
        return str(self), self.value


@dataclass(frozen=True, slots=True)
class Template:
    """A text of a settings file that holds a `$`, kept with the folder its relative paths start from."""

    text: str
    folder: Path

    def expand(self, environ: Mapping[str, str]) -> Scalar:
        """The text with its substitutions made; a text that is one substitution alone may become another scalar."""
        whole = _TOKEN.fullmatch(self.text)
        if whole and whole["inside"] is not None:
            return as_substituted(_look_up(whole["inside"], environ, self.folder))
        return _TOKEN.sub(lambda token: self._replace(token, environ), self.text)

    def _replace(self, token: re.Match[str], environ: Mapping[str, str]) -> str:
        if token["open"]:
            raise SubstitutionError('"${" is never closed; add the }, or write $${ for the characters themselves')
        if token["inside"] is None:
            return "$"
        return _look_up(token["inside"], environ, self.folder)


def parse_scalar(text: str) -> Scalar:
    """What a plain YAML 1.2 scalar means.

    YAML 1.1, which PyYAML follows by itself, takes `off` and `yes` for booleans and `10:30` for a number.
    """
    if text in _PLAIN_SCALARS:
        return _PLAIN_SCALARS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED_INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def as_substituted(text: str) -> str:
    """The text itself, or a `Substituted` when YAML reads more than text in it."""
    value = parse_scalar(text)
    return text if isinstance(value, str) else Substituted(text, value)


def _look_up(inside: str, environ: Mapping[str, str], folder: Path) -> str:
    source, colon, rest = inside.partition(":")
    if colon and source == "env":
        return _from_environment(rest, environ)
    if colon and source == "file":
        return _from_file(rest, folder)
    # Other text between the braces is not repeated: it may be part of a password that happens to hold "${".
    if _CAPITAL_NAME.fullmatch(inside):
        raise SubstitutionError(f"${{{inside}}} names no source; write ${{env:{inside}}}")
    raise SubstitutionError(
        '"${" must begin ${env:NAME}, ${env:NAME:-default} or ${file:PATH}; write $${ for the characters themselves'
    )


def _from_environment(reference: str, environ: Mapping[str, str]) -> str:
    name, has_default, default = reference.partition(":-")
    if not _NAME.fullmatch(name):
        raise SubstitutionError(
            "the name after ${env: is not a name of an environment variable; "
            "use letters, digits and _, and begin with no digit"
        )
    if name in environ:  # set but empty counts as set, as in the Collector
        return environ[name]
    if not has_default:
        raise SubstitutionError(
            f"environment variable {name} is not set; set it, or write ${{env:{name}:-default}}",
        )
    if "${" in default.replace("$$", ""):
        raise SubstitutionError(f"the default of ${{env:{name}}} holds another substitution; write plain text there")
    return default.replace("$$", "$")


def _from_file(name: str, folder: Path) -> str:
    if not name:
        raise SubstitutionError("${file:} names no file; write ${file:PATH}")
    path = folder / name
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise SubstitutionError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    except (UnicodeDecodeError, ValueError) as error:  # ValueError: a NUL in the path
        raise SubstitutionError(f"cannot read {path}: it is not UTF-8 text; save it as UTF-8") from error
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
