"""What OpenRouter's Test Connection button sends: it succeeds, and never looks like traffic."""

from __future__ import annotations

import pytest

from tests.end_to_end.harness import JSON, PROTOBUF, Gateway, ask, span, until


@pytest.mark.parametrize("path", ["", "/v1/traces"])
@pytest.mark.parametrize(("content_type", "body"), [(JSON, b"{}"), (JSON, b'{"resourceSpans":[]}'), (PROTOBUF, b"")])
def test_an_empty_body_is_a_success(gateway: Gateway, path: str, content_type: str, body: bytes) -> None:
    """The empty test requests get 200 and an empty response."""
    answer = gateway.post(body, content_type, path, x_test_connection="true")
    assert (answer.status, answer.body) == (200, b"{}" if content_type == JSON else b"")


def test_an_empty_body_with_a_wrong_key_is_refused(gateway: Gateway) -> None:
    """A test with a wrong key fails, so that the button shows what a delivery would meet."""
    headers = {"Content-Type": JSON, "X-Test-Connection": "true", "Authorization": "Bearer wrong"}
    assert ask(gateway.url, b"{}", headers).status == 401


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_the_test_span_is_stored_as_a_test(gateway: Gateway, content_type: str) -> None:
    """The span `openrouter-connection-test` gets 200, is marked as a test, and is in neither calls nor traces."""
    start = 1_795_304_600_000_000_000 + len(content_type)
    sent = span(f"{1:032x}", f"{1:016x}", start, name="openrouter-connection-test", status={"code": 1}, attributes=[])
    service = {"key": "service.name", "value": {"stringValue": "openrouter"}}
    scope_spans = [{"scope": {"name": "openrouter"}, "spans": [sent]}]
    gateway.deliver(
        {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": scope_spans}]}, content_type
    )
    mine = "Timestamp = fromUnixTimestamp64Nano({start:Int64}, 'UTC')"
    until(lambda: gateway.count("spans", f"IsTest AND {mine}", start=start) == 1)
    until(gateway.is_drained)
    assert gateway.count("llm_calls", mine, start=start) == 0
    assert gateway.count("OPENROUTER_TRACES", "SPAN_ID = {id:String}", id=sent["spanId"]) == 0
