"""Which attribute keys carry prompt and completion content, in every dialect that is known.

The privacy processor drops these keys, the ClickHouse exporter stores them apart; both ask `is_content`. What stays
(token counts, costs, names) is decided first, because many of those keys contain "prompt", "input" or "token".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_NEVER = frozenset({"gen_ai.prompt.name", "gen_ai.output.type"})

_EXACT = frozenset(
    {
        # OpenRouter Broadcast
        "trace.input",
        "trace.output",
        "span.input",
        "span.output",
        # OpenTelemetry GenAI conventions, current and deprecated
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.tool.description",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.retrieval.query.text",
        "gen_ai.retrieval.documents",
        "gen_ai.memory.query.text",
        "gen_ai.memory.records",
        "gen_ai.evaluation.explanation",
        "gen_ai.agent.description",
        "gen_ai.event.content",
        "gen_ai.openai.request.response_format",
    }
)

_PREFIXES = (
    # Deprecated indexed forms: gen_ai.prompt.0.content, gen_ai.completion.0.tool_calls.0.arguments
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "gen_ai.content.",
)

_QUOTES_CONTENT = frozenset({"span.status_message", "exception.message", "exception.stacktrace"})

_EVENT_ONLY = frozenset({"content", "body", "message", "tool_calls"})

_TRUNCATED = ".truncated"
_MOST_KEYS = 65_536


class KeyRule(dict[str, bool]):
    """What a function says of attribute keys, remembered: `rule[key]` asks it for each distinct key once."""

    def __init__(self, decide: Callable[[str], bool]) -> None:
        super().__init__()
        self._decide = decide

    def __missing__(self, key: str) -> bool:
        """Ask; forget everything first if senders have made up too many keys."""
        if len(self) >= _MOST_KEYS:
            self.clear()
        answer = self[key] = self._decide(key)
        return answer


def is_content(key: str) -> bool:
    """Whether an attribute of this name holds prompt or completion content, or marks it as truncated."""
    key = key.removesuffix(_TRUNCATED)
    return key not in _NEVER and (key in _EXACT or key.startswith(_PREFIXES))


def may_quote_content(key: str) -> bool:
    """Whether an attribute of this name holds content, or an error text that may quote it."""
    return is_content(key) or key.removesuffix(_TRUNCATED) in _QUOTES_CONTENT


def may_quote_content_in_event(key: str) -> bool:
    """The same for the attributes of events, where content also has names too general for spans."""
    return may_quote_content(key) or key in _EVENT_ONLY


IS_CONTENT = KeyRule(is_content)
MAY_QUOTE_CONTENT = KeyRule(may_quote_content)
MAY_QUOTE_CONTENT_IN_EVENT = KeyRule(may_quote_content_in_event)
