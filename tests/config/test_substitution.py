"""Substitution in one text: what is replaced, what is kept, and what a whole-scalar substitution means."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.substitution import Scalar, Substituted, SubstitutionError, Template, as_substituted, parse_scalar

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"))


BAD_SOURCE = (
    '"${" must begin ${env:NAME}, ${env:NAME:-default} or ${file:PATH}; write $${ for the characters themselves'
)


def expand(text: str, **environ: str) -> Scalar:
    """The text with these variables put in."""
    return Template(text, Path()).expand(environ)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("http://${env:HOST}:${env:PORT}", "http://db:8123"),
        ("${env:MISSING:-127.0.0.1:4318}", "127.0.0.1:4318"),
        ("${env:MISSING:-}", ""),
        ("x${env:MISSING:-a$$b}", "xa$b"),
        ("$$", "$"),
        ("$${env:HOST}", "${env:HOST}"),
        ("$$$${env:HOST}", "$${env:HOST}"),
        ("$$${env:HOST}", "$db"),
        ("$2b$12$salt", "$2b$12$salt"),
        ("x${env:EMPTY:-default}", "x"),
        ("x${env:EMPTY}", "x"),
    ],
)
def test_substitutions_in_a_text(text: str, expanded: str) -> None:
    """Variables and defaults are put in, $$ becomes $, other dollars stay; a set but empty variable counts as set."""
    assert expand(text, HOST="db", PORT="8123", EMPTY="") == expanded


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${NAME}", "${NAME} names no source; write ${env:NAME}"),
        ("pa${ss}", BAD_SOURCE),
        ("${http://secret}", BAD_SOURCE),
        (
            "${env:1ST}",
            (
                "the name after ${env: is not a name of an environment variable; use letters, digits and _, "
                "and begin with no digit"
            ),
        ),
        ("a${env:X", '"${" is never closed; add the }, or write $${ for the characters themselves'),
        ("${env:A:-${env:B}}", "the default of ${env:A} holds another substitution; write plain text there"),
    ],
)
def test_malformed_substitutions(text: str, sentence: str) -> None:
    """Each mistake has a sentence with its remedy, and no source but env and file is followed."""
    with pytest.raises(SubstitutionError) as caught:
        expand(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("raw", "value"), [("8123", 8123), ("true", True), ("1.5", 1.5), ("", None), ("null", None), ("1e5", 100000.0)]
)
def test_a_whole_scalar_keeps_its_text_and_its_value(raw: str, value: Scalar) -> None:
    """A substitution that is the whole scalar is both the exact text and what YAML reads in it."""
    expanded = expand("${env:X}", X=raw)
    assert isinstance(expanded, Substituted)
    assert expanded == raw
    assert expanded.value == value
    assert type(expanded.value) is type(value)


def test_a_substituted_value_survives_copying() -> None:
    """Settings may be copied and sent to a child process without losing either reading."""
    original = Substituted("8123", 8123)
    for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert (twin, twin.value, type(twin)) == ("8123", 8123, Substituted)


@pytest.mark.parametrize(
    "raw", ["0123", "yes", "off", "10:30", "2024-01-01", "[1, 2]", "{a: 1}", "# x", "1_000", ".inf"]
)
def test_what_is_no_number_or_boolean_is_text(raw: str) -> None:
    """YAML's other readings of a plain scalar are not made."""
    expanded = expand("${env:X}", X=raw)
    assert type(expanded) is str
    assert expanded == raw


@given(NAMES, TEXTS)
def test_the_raw_text_always_survives(name: str, raw: str) -> None:
    """Whatever a variable holds, also ${...} and $$, a field of text gets exactly that."""
    assert expand(f"${{env:{name}}}", **{name: raw}) == raw
    assert expand(f"<${{env:{name}}}>", **{name: raw}) == f"<{raw}>"


@given(TEXTS)
def test_escaping_every_dollar_gives_the_text_back(text: str) -> None:
    """$$ is enough to write any text."""
    assert expand(text.replace("$", "$$") + "x") == text + "x"


@given(TEXTS)
def test_any_text_expands_or_is_refused_with_a_sentence(text: str) -> None:
    """No text of a settings file makes the expansion fail in another way."""
    with suppress(SubstitutionError):
        assert "$" in text or expand(text) == text
        expand(text)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_numbers_and_booleans_are_read_as_themselves(value: float) -> None:
    """A printed number reads back as the same number, unless it is too long for any setting."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    read = parse_scalar(text)
    assert read == value or (read == text and len(text) > 18)
    assert str(as_substituted(text)) == text
