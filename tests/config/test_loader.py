"""Settings files: reading, merging, and the sentences for files that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config import ConfigError, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    WriteFile = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Write a file into the test's own folder and give its path."""

    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def problems(*paths: Path, **environ: str) -> tuple[str, ...]:
    """The lines that loading these files is refused with."""
    with pytest.raises(ConfigError) as caught:
        load(paths, environ)
    return caught.value.lines


def test_later_files_win_key_by_key(write: WriteFile) -> None:
    """Maps merge deeply; lists, scalars and nulls of a later file replace what stood there."""
    first = write("a.yaml", "service: {batch: {linger: 1s, max_size: 1MiB}, list: [1, 2], gone: {x: 1}}")
    second = write("b.yaml", "service: {batch: {linger: 2s}, list: [3], gone: }")
    assert load([first, second], {}) == {
        "service": {"batch": {"linger": "2s", "max_size": "1MiB"}, "list": [3], "gone": None}
    }


def test_scalars_are_those_of_yaml_1_2(write: WriteFile) -> None:
    """Words such as off and yes, times of day, dates and numbers with leading zeros are text, not surprises."""
    text = "{a: off, b: yes, c: 10:30, d: 2024-01-01, e: 0123, f: 12, g: 0x1F, h: 1.5, i: true, j: ~, k: 1e3, l: '1'}"
    expected: dict[str, Any] = {"a": "off", "b": "yes", "c": "10:30", "d": "2024-01-01", "e": "0123", "f": 12, "g": 31}
    expected |= {"h": 1.5, "i": True, "j": None, "k": 1000.0, "l": "1"}
    assert load([write("a.yaml", text)], {}) == expected


def test_keys_are_text_as_they_are_written(write: WriteFile) -> None:
    """A key such as on or 1 is not turned into true or a number."""
    assert load([write("a.yaml", "{on: 1, 1: 2}")], {}) == {"on": 1, "1": 2}


def test_anchors_and_merge_keys_work(write: WriteFile) -> None:
    """A shared part may be written once, even where it overrides keys and is used twice."""
    text = "base: &base {x: 1, y: 1}\none: &one {<<: *base, y: 2}\ntwo: *one\nthree: {y: 3, <<: *one}\n"
    loaded = load([write("a.yaml", text)], {})
    assert loaded["one"] == loaded["two"] == {"x": 1, "y": 2}
    assert loaded["three"] == {"x": 1, "y": 3}


def test_a_duplicate_key_is_refused(write: WriteFile) -> None:
    """A key that stands twice in one map is named with both its lines."""
    path = write("a.yaml", "receivers:\n  otlp: {}\n  otlp: {}\n")
    assert problems(path) == (f"receivers::otlp: the key is already on line 2; keep one of them ({path}, line 3)",)


@pytest.mark.parametrize("text", ["", "# nothing here\n", "---\n", "null\n", "''\n"])
def test_an_empty_file_is_refused(write: WriteFile, text: str) -> None:
    """A file without content is more likely a mistake than a wish for defaults."""
    path = write("a.yaml", text)
    assert problems(path) == (f"{path}: the file is empty; write settings into it, or leave it out",)


def test_a_file_that_is_no_map_is_refused(write: WriteFile) -> None:
    """A list at the top is named as what it is not."""
    path = write("a.yaml", "- otlp\n")
    assert problems(path) == (f"{path}: holds no map; begin with a section such as receivers:",)


def test_broken_yaml_is_named_by_line_and_shows_no_content(write: WriteFile) -> None:
    """The line of a syntax error may hold a secret, so only its number is shown."""
    path = write("a.yaml", "receivers: {}\npassword: 'hunter2\n")
    (line,) = problems(path)
    assert line.startswith(f"{path}, line 3, column 1: is not valid YAML: ")
    assert "hunter2" not in line


def test_a_missing_file_and_a_broken_one_are_reported_together(write: WriteFile, tmp_path: Path) -> None:
    """All unusable files are named at once."""
    missing = tmp_path / "missing.yaml"
    lines = problems(missing, write("b.yaml", ""))
    assert lines[0] == f"{missing}: cannot be read: No such file or directory; check the path and its permissions"
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: \xff", "is not UTF-8 text; save it as UTF-8"),
        (b"a: \x00", "is not valid YAML: special characters are not allowed; remove the character"),
        (b"[" * 5000, "is nested too deeply; use fewer levels"),
    ],
)
def test_files_that_are_not_yaml_at_all_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    """Binary and hostile files get a sentence, not a traceback."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert problems(path) == (f"{path}: {sentence}",)


def test_python_tags_and_self_references_are_refused(write: WriteFile) -> None:
    """YAML can make objects and loops; settings cannot."""
    path = write("a.yaml", "a: !!python/object:os.system {}\nb: &b {c: *b}\nd: !env X\n")
    assert problems(path) == (
        f"a: the tag tag:yaml.org,2002:python/object:os.system is not supported; remove it ({path}, line 1)",
        f"b::c: contains itself through an alias; write it out ({path}, line 2)",
        f"d: the tag !env is not supported; remove it ({path}, line 3)",
    )


def test_a_key_that_is_not_text_is_refused(write: WriteFile) -> None:
    """A list as a key has no place in settings."""
    path = write("a.yaml", "a:\n  ? [x]\n  : 1\n")
    assert problems(path) == (f"a: a key is not text; write keys as plain words ({path}, line 2)",)


def test_no_file_at_all_is_refused() -> None:
    """Without a file there is nothing to run."""
    assert problems() == ("no settings file is given; name one with --config",)


def test_every_unset_variable_is_named_with_its_place(write: WriteFile) -> None:
    """A missing variable says where it is used and how to go on without it."""
    path = write("a.yaml", 'destinations: {default: {api_keys: ["${env:TOLLGATE_API_KEY}"]}, x: "${env:OTHER}"}')
    assert problems(path) == (
        (
            "destinations::default::api_keys::0: environment variable TOLLGATE_API_KEY is not set; "
            "set it, or write ${env:TOLLGATE_API_KEY:-default}"
        ),
        "destinations::x: environment variable OTHER is not set; set it, or write ${env:OTHER:-default}",
    )


def test_a_substitution_that_is_overridden_is_never_made(write: WriteFile) -> None:
    """A later file may replace a substitution whose variable is not set."""
    assert load([write("a.yaml", "x: ${env:UNSET}"), write("b.yaml", "x: 1")], {}) == {"x": 1}


def test_files_are_found_beside_the_settings_file_that_names_them(write: WriteFile) -> None:
    """A relative path starts at its own settings file; one trailing newline is dropped, and only one."""
    write("one/key", "first\n")
    write("two/key", "second\r\n")
    write("two/blank", "third\n\n")
    one = write("one/a.yaml", "a: ${file:key}")
    two = write("two/b.yaml", "{b: '${file:key}', c: '${file:blank}'}")
    assert load([one, two], {}) == {"a": "first", "b": "second", "c": "third\n"}


def test_an_unreadable_file_is_named(write: WriteFile, tmp_path: Path) -> None:
    """A ${file:} that leads nowhere says which path was tried."""
    path = write("a.yaml", "a: ${file:key}\nb: ${file:}\nc: ${file:.}")
    assert problems(path) == (
        f"a: cannot read {tmp_path / 'key'}: No such file or directory; check the path and its permissions",
        "b: ${file:} names no file; write ${file:PATH}",
        f"c: cannot read {tmp_path}: Is a directory; check the path and its permissions",
    )
