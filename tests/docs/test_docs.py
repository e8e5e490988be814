"""The docs say what is true: their examples run, their tables match the code, their paths exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest
import yaml

from config import DEFAULT_FILE, Settings, load
from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.settings import ClickHouseSettings
from gateway.cli.main import build_parser
from gateway.components import read_components
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def blocks(language: str) -> list[str]:
    """All examples in one language, from all pages."""
    return [body for page in PAGES for kind, body in _BLOCK.findall(page.read_text()) if kind == language]


@pytest.fixture
def database(clickhouse_url: str, clickhouse_database: str) -> Client:
    """A client of a database with Tollgate's schema."""
    settings = ClickHouseSettings(endpoint=clickhouse_url, database=clickhouse_database)
    exporter = ClickHouseExporter(settings)
    exporter.migrate()
    exporter.close()
    with clickhouse_connect.get_client(dsn=f"{clickhouse_url}/{clickhouse_database}") as client:
        yield client


def test_every_sql_example_runs(database: Client) -> None:
    """Each SQL example is a query that ClickHouse answers on an empty schema."""
    examples = blocks("sql")
    assert examples
    for example in examples:
        database.query(example)


@pytest.mark.parametrize("view", ["spans", "llm_calls"])
def test_the_schema_page_lists_exactly_the_columns_there_are(database: Client, view: str) -> None:
    """The table of a view has every column of it with its type, in order."""
    section = (ROOT / "docs/schema.md").read_text().split(f"\n## {view}\n")[1].split("\n## ")[0]
    described = database.query(f"DESCRIBE TABLE {view}").result_rows
    assert _COLUMN.findall(section) == [(name, kind) for name, kind, *_ in described]


def test_the_metrics_page_is_what_the_table_of_metrics_says() -> None:
    """docs/metrics.md is up to date with the code it is made from."""
    assert (ROOT / "docs/metrics.md").read_text() == Metrics().describe()


def test_every_command_in_the_docs_exists() -> None:
    """The command line understands every `tollgate` command that the docs show."""
    commands = [
        shlex.split(line, comments=True)
        for block in blocks("sh")
        for line in block.splitlines()
        if "tollgate " in line and "curl" not in line
    ]
    assert commands
    for words in commands:
        start = next(place for place, word in enumerate(words) if word.endswith("tollgate"))
        build_parser().parse_args(words[start + 1 :])


def test_every_make_target_in_the_docs_exists() -> None:
    """`make` knows each target that the docs name."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)\b(?=`|\n)", "".join(page.read_text() for page in PAGES)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_every_curl_example_is_answered(database: Client, clickhouse_url: str, tmp_path: Path) -> None:
    """Each curl example gets an answer without an error, at this test's port and database."""
    examples = [block for block in blocks("sh") if block.startswith("curl")]
    assert examples
    for example in examples:
        here = example.replace("http://127.0.0.1:8123", clickhouse_url).replace("=tollgate'", f"={database.database}'")
        words = shlex.split(here.replace("\\\n", " "))
        subprocess.run([*words, "--fail", "--silent"], check=True, timeout=30, cwd=tmp_path)


def test_every_settings_example_is_valid(tmp_path: Path) -> None:
    """Each YAML example passes validation, its environment variables being set."""
    examples = blocks("yaml")
    assert examples
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example)
        names = re.findall(r"\$\{env:(\w+)", example)
        read_components(Settings.from_mapping(load([file], dict.fromkeys(names, "a-long-secret"))))


def test_every_link_between_pages_leads_somewhere() -> None:
    """Relative links name files that exist."""
    for page in PAGES:
        for target in _LINK.findall(page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_a_guarantee_names_exists() -> None:
    """The guarantees name the tests that show them: each by its path, or by its name beside one with a path."""
    page = (ROOT / "docs" / "guarantees.md").read_text()
    named = set(re.findall(r"`([\w/]*test_\w+\.py)`", page))
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert {name for name in named if name not in there and f"tests/end_to_end/{name}" not in there} == set()


def test_the_dockerfile_copies_only_what_exists() -> None:
    """Each path that the Dockerfile copies from the project is there, and every package is copied."""
    text = (ROOT / "Dockerfile").read_text()
    copied = [
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert all((ROOT / source).exists() for source in copied)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(copied)
    assert "USER tollgate" in text
    assert "HEALTHCHECK" in text


def test_the_environment_variables_of_the_dockerfile_are_those_of_the_settings() -> None:
    """What the Dockerfile sets is what the default settings ask for."""
    asked = set(re.findall(r"\$\{env:(\w+)", DEFAULT_FILE.read_text()))
    assert set(re.findall(r"\b(TOLLGATE_\w+)=", (ROOT / "Dockerfile").read_text())) <= asked


def test_the_default_settings_are_plain_yaml_of_the_documented_sections() -> None:
    """The shipped settings have the sections that the README names."""
    assert set(yaml.safe_load(DEFAULT_FILE.read_text())) == {
        "receivers",
        "processors",
        "exporters",
        "destinations",
        "service",
    }
