"""`tollgate send-sample`: delivers a trace as OpenRouter would, and shows what ClickHouse then holds of it."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import orjson

from exporters.clickhouse.client import Client, Connection, quote
from gateway.cli.common import CommandError, add_config_option, read_settings
from gateway.components import read_pipeline
from gateway.sample import generation_id, sample_delivery
from otlp.errors import RetryableError

if TYPE_CHECKING:
    from exporters.clickhouse.settings import ClickHouseSettings

_EXAMPLES = """examples:
  TOLLGATE_API_KEY=tg_... tollgate send-sample
  TOLLGATE_API_KEY=tg_... tollgate send-sample --url http://gateway.internal:4318
"""
_PATIENCE = 20.0
_POLL = 0.2

_CALL = (
    "Model",
    "Provider",
    "InputTokens",
    "CachedInputTokens",
    "OutputTokens",
    "CostUsd",
    "CostSource",
    "UserId",
    "SessionId",
    "ApiKeyName",
    "Metadata",
)


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `send-sample`."""
    parser = commands.add_parser(
        "send-sample",
        help="send a trace as OpenRouter would, and show what is stored of it",
        description=(
            "Send a trace as OpenRouter would, wait until ClickHouse has it, and show it. The API key is taken from "
            "the environment variable TOLLGATE_API_KEY, so that it stands in no list of processes."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_option(parser)
    parser.add_argument("--url", help="the gateway's base URL (default: the OTLP/HTTP endpoint of the settings)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    key = os.environ.get("TOLLGATE_API_KEY", "")
    if not key:
        raise CommandError(
            "TOLLGATE_API_KEY is not set: set it to a key that the gateway showed or `keys create` made."
        )
    settings = read_settings(arguments)
    pipeline = read_pipeline(settings)
    protocols = pipeline.receiver.protocols
    url = arguments.url or (f"http://{protocols.http.endpoint}" if protocols.http else "")
    if not url:
        raise CommandError("The settings have no OTLP/HTTP endpoint: say where to send with --url.")
    now = time.time_ns()
    generation = generation_id(now // 10**9, secrets.token_bytes(20))
    print(f"Sending generation {generation} to {url} ...")
    _post(url, key, orjson.dumps(sample_delivery(generation, now // 10**6 * 10**6)))
    print("Acknowledged. Waiting for ClickHouse ...")
    _show(_wait_for(generation, pipeline.exporter))
    return 0


def _post(url: str, key: str, body: bytes) -> None:
    if urlsplit(url).scheme not in {"http", "https"}:
        raise CommandError(f"{url} is not a URL of a gateway: it must begin with http:// or https://.")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    try:
        with urlopen(Request(url, body, headers), timeout=_PATIENCE):  # noqa: S310 - the scheme is checked above
            return
    except HTTPError as error:
        answer = error.read(2000)
        try:
            message = orjson.loads(answer)["message"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            message = "it does not answer like Tollgate"
        raise CommandError(f"{url} refuses the trace with status {error.code}: {message}") from error
    except (HTTPException, URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise CommandError(f"No gateway answers at {url} ({reason}): start one with `tollgate serve`.") from error


def _wait_for(generation: str, settings: ClickHouseSettings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The spans and the call of a generation, as soon as ClickHouse has both."""
    login = settings.login
    client = Client(
        Connection(urlsplit(settings.url), settings.database, login.username, login.password.reveal(), _PATIENCE)
    )
    database = quote(settings.database)
    deadline = time.monotonic() + _PATIENCE
    try:
        while True:
            calls = client.query(
                f"SELECT {', '.join(_CALL)} FROM {database}.llm_calls WHERE CallId = {{id:String}}",  # noqa: S608 - no user's text
                {"id": generation},
            )
            if calls:
                spans = client.query(
                    f"SELECT SpanName, Duration FROM {database}.spans "  # noqa: S608 - no user's text
                    "WHERE GenerationId = {id:String} ORDER BY Timestamp",
                    {"id": generation},
                )
                return spans, calls
            if time.monotonic() > deadline:
                raise CommandError(
                    "The trace was acknowledged, but ClickHouse does not have it yet: "
                    "see the gateway's log, and tollgate_exporter_failures_total at /metrics."
                )
            time.sleep(_POLL)
    except RetryableError as error:
        raise CommandError(f"The trace was acknowledged, but ClickHouse cannot be asked for it: {error}") from error
    finally:
        client.close()


def _show(stored: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    spans, calls = stored
    print(f"\nspans: {len(spans)} rows")
    for span in spans:
        print(f"  {span['SpanName']}  ({span['Duration'] / 1e6:.0f} ms)")
    print(f"\nllm_calls: {len(calls)} row{'s' if len(calls) != 1 else ''}")
    for name in _CALL:
        value = calls[0][name]
        if isinstance(value, dict):
            print(f"  {name}")
            for key, text in value.items():
                print(f"    {key} = {text}")
        else:
            print(f"  {name:<18}{value:f}" if name == "CostUsd" and value is not None else f"  {name:<18}{value}")
    sys.stdout.flush()
