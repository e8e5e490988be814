"""`tollgate send-sample` where it cannot succeed: one sentence that says what to do."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from gateway.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Refusing(BaseHTTPRequestHandler):
    """Refuses everything, as a gateway does or, under /other, as something else does."""

    def do_POST(self) -> None:
        """Answer 401."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.end_headers()
        message = "The API key is not valid here."
        self.wfile.write(b"<html>" if self.path == "/other" else json.dumps({"code": 16, "message": message}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The URL of a server that refuses what it gets."""
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error with which `send-sample` fails."""
    assert main(["send-sample", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_without_a_key_it_says_how_to_give_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TOLLGATE_API_KEY nothing is sent."""
    monkeypatch.delenv("TOLLGATE_API_KEY", raising=False)
    assert said(capsys).startswith("tollgate: TOLLGATE_API_KEY is not set: set it to a key")


@pytest.mark.parametrize("url", ["file:///etc/hosts", "127.0.0.1:4318"])
def test_a_url_of_another_kind_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Only http and https URLs are sent to."""
    monkeypatch.setenv("TOLLGATE_API_KEY", "tg_key")
    assert "must begin with http:// or https://" in said(capsys, "--url", url)


def test_where_nothing_answers_it_says_what_to_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    """If no gateway answers, the line names the URL and the command that starts one."""
    monkeypatch.setenv("TOLLGATE_API_KEY", "tg_key")
    url = f"http://127.0.0.1:{free_port()}"
    assert said(capsys, "--url", url).startswith(f"tollgate: No gateway answers at {url} (")


@pytest.mark.parametrize(
    ("path", "why"), [("", "The API key is not valid here."), ("/other", "it does not answer like Tollgate")]
)
def test_a_refusal_is_passed_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, refusing: str, path: str, why: str
) -> None:
    """What the gateway says when it refuses is shown, and the key is not."""
    monkeypatch.setenv("TOLLGATE_API_KEY", "tg_key")
    line = said(capsys, "--url", f"{refusing}{path}")
    assert line == f"tollgate: {refusing}{path} refuses the trace with status 401: {why}"
