"""Senders of spans of which some are calls, and some will be refused by ClickHouse."""

from __future__ import annotations

from typing import Any

from tests.end_to_end.traffic import PER_REQUEST, Traffic

POISON = "poison"
_POISON_EVERY = 401
_CALL = [
    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
    {"key": "gen_ai.request.model", "value": {"stringValue": "openai/gpt-5-mini"}},
    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "17"}},
]


class Sender(Traffic):
    """Every span has the same trace id; the last of each request is a call."""

    @property
    def poison(self) -> set[str]:
        """The ids of acknowledged spans that ClickHouse will refuse."""
        return {one for one in set(self.acknowledged) if _is_poison(int(one, 16))}

    @property
    def calls(self) -> set[str]:
        """The ids of acknowledged spans that are calls."""
        return {one for one in set(self.acknowledged) if _is_call(int(one, 16))} - self.poison

    def make_span(self, number: int) -> dict[str, Any]:
        """The span of a number."""
        name = POISON if _is_poison(number) else "work"
        attributes = {"attributes": _CALL} if _is_call(number) else {}
        return super().make_span(number) | {"name": name} | attributes


def _is_poison(number: int) -> bool:
    return number % _POISON_EVERY == 0


def _is_call(number: int) -> bool:
    return number % PER_REQUEST == 0
