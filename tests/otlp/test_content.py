"""Content keys: what holds prompts and completions is known, and what only sounds like it is not taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp.content import is_content, may_quote_content, may_quote_content_in_event

CONTENT = [
    "gen_ai.prompt",
    "gen_ai.completion",
    "span.input",
    "span.output",
    "trace.input",
    "trace.output",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.description",
    "gen_ai.retrieval.query.text",
    "gen_ai.retrieval.documents",
    "gen_ai.memory.query.text",
    "gen_ai.memory.records",
    "gen_ai.evaluation.explanation",
    "gen_ai.prompt.0.content",
    "gen_ai.prompt.0.tool_calls.0.arguments",
    "gen_ai.completion.0.role",
    "gen_ai.content.prompt",
    "gen_ai.content.completion",
    "gen_ai.event.content",
    "gen_ai.openai.request.response_format",
]

NO_CONTENT = [
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
    "gen_ai.usage.input_cost",
    "gen_ai.usage.output_cost",
    "gen_ai.prompt.name",
    "gen_ai.output.type",
    "gen_ai.request.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.tool.name",
    "gen_ai.tool.call.id",
    "trace.metadata.openrouter.input_unit_price",
    "trace.metadata.openrouter.first_token_ms",
    "trace.metadata.openrouter_generation.tokens_prompt",
    "trace.metadata.openrouter_generation.num_media_prompt",
    "trace.metadata.openrouter_generation.upstream_raw_response_usage",
    "trace.name",
    "span.type",
    "span.level",
    "user.id",
    "content",
    "",
]


@pytest.mark.parametrize("key", CONTENT)
def test_content_is_recognised(key: str) -> None:
    """Every key that OpenRouter or the GenAI conventions use for content is content, and so is its truncated mark."""
    for name in (key, f"{key}.truncated"):
        assert is_content(name)
        assert may_quote_content(name)
        assert may_quote_content_in_event(name)


@pytest.mark.parametrize("key", NO_CONTENT)
def test_usage_and_names_are_no_content(key: str) -> None:
    """Keys of counts, costs, names and types are no content, whatever words they contain."""
    assert not is_content(key)
    assert not may_quote_content(key)


@pytest.mark.parametrize("key", ["span.status_message", "exception.message", "exception.stacktrace"])
def test_error_texts_may_quote_content(key: str) -> None:
    """Error texts are no content to be stored apart, but they may quote it."""
    assert not is_content(key)
    assert may_quote_content(key)
    assert may_quote_content_in_event(key)


@pytest.mark.parametrize("key", ["content", "body", "tool_calls"])
def test_events_use_general_names_for_content(key: str) -> None:
    """Names too general for spans hold content in events."""
    assert not may_quote_content(key)
    assert may_quote_content_in_event(key)


@given(key=st.text(max_size=20))
def test_what_is_content_may_be_quoted(key: str) -> None:
    """Each rule takes at least what the narrower one takes."""
    assert may_quote_content(key) >= is_content(key)
    assert may_quote_content_in_event(key) >= may_quote_content(key)
