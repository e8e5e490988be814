"""Seeded LLM traffic: OpenRouter's deliveries and the batches of OpenTelemetry SDKs, as request bodies.

    traffic = Traffic(seed=7, spans=300_000, days=30, users=5_000, models=40)
    for body in deliveries(traffic): ...

Equal traffic gives equal bytes. No two spans share an id, whatever their number; two seeds share none either. A
delivery is drawn anew each time, texts and numbers; a thousand spans of SDK batches are drawn once, and each time one
is sent it gets ids, times, a user and a conversation of its own. So one process makes more than what is measured takes.
"""

from __future__ import annotations

import math
import random
import re
import struct
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.sample import generation_id, sample_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

Form = Literal["deliveries", "protobuf", "json"]
Value = str | int | float | list[str]

SPANS_PER_DELIVERY = 3
SPANS_PER_BATCH = 100
END = 1_795_651_200_000_000_000
_DAY = 86_400 * 10**9
_MS = 10**6
_FAILED = 0.02
_CACHED = 0.4
_TRACE = 5  # spans of one trace in an SDK batch: an agent and the calls that it makes
_POOL = 1024  # SDK spans that are written in full


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is generated. Without a number of spans there is no end to it.

    The spans begin in the `days` before `end` (nanoseconds since 1970): one after the other if their number is known,
    else at random. A few of the users and models have most of the calls. `prompt` is the median length of what a user
    writes, in characters; one in a hundred writes more than fifteen times as much.
    """

    seed: int = 0
    spans: int | None = None
    days: float = 1.0
    users: int = 1000
    models: int = 12
    prompt: int = 200
    end: int = END


def bodies(traffic: Traffic, form: Form) -> Iterator[bytes]:
    """The bodies of one form."""
    return deliveries(traffic) if form == "deliveries" else batches(traffic, form)


def spans_per_body(form: Form) -> int:
    """How many spans each body has (the last one of a batch may have fewer)."""
    return SPANS_PER_DELIVERY if form == "deliveries" else SPANS_PER_BATCH


# The world that the traffic comes from


@dataclass(frozen=True, slots=True)
class _Model:
    slug: str
    author: str
    dated: str
    provider: str
    provider_slug: str
    endpoint: str
    input_price: float
    output_price: float


@dataclass(frozen=True, slots=True)
class _Application:
    title: str
    trace: str
    step: str
    department: str
    environment: str
    cost_center: str
    project: str
    phase: str
    key_name: str
    instructions: str
    tool: str


_KNOWN_MODELS = (
    ("openai/gpt-5-mini", "2025-08-07", "Azure", 0.25, 2.0),
    ("anthropic/claude-sonnet-4", "20250514", "Anthropic", 3.0, 15.0),
    ("google/gemini-2.5-flash", "2025-06-17", "Google", 0.3, 2.5),
    ("openai/gpt-4o-mini", "2024-07-18", "OpenAI", 0.15, 0.6),
    ("google/gemini-2.5-pro", "2025-06-17", "Google AI Studio", 1.25, 10.0),
    ("openai/gpt-5", "2025-08-07", "OpenAI", 1.25, 10.0),
    ("anthropic/claude-3.5-haiku", "20241022", "Amazon Bedrock", 0.8, 4.0),
    ("openai/gpt-4o", "2024-08-06", "Azure", 2.5, 10.0),
    ("deepseek/deepseek-chat-v3.1", "20250821", "Fireworks", 0.27, 1.1),
    ("meta-llama/llama-3.3-70b-instruct", "20241206", "Together", 0.13, 0.4),
    ("mistralai/mistral-small-3.2-24b-instruct", "20250620", "Mistral", 0.1, 0.3),
    ("qwen/qwen3-coder", "20250722", "DeepInfra", 0.3, 1.2),
)
_DEPARTMENTS = ("finance-ops", "support", "legal", "sales", "engineering", "people", "marketing", "research")
_WORDS = """
invoice order vendor total contract clause customer ticket refund shipment delay answer question policy report summary
paragraph meeting deadline budget forecast region quarter margin supplier delivery address account number review change
request error trace function value result table column query index café naïve résumé straße 東京 please the a of and to
in for with that this which when why how is are was were not only more than every
"""


def _models(number: int) -> list[_Model]:
    models = []
    for place in range(number):
        slug, date, provider, input_price, output_price = _KNOWN_MODELS[place % len(_KNOWN_MODELS)]
        if place >= len(_KNOWN_MODELS):
            slug = f"{slug}-v{place // len(_KNOWN_MODELS) + 1}"
        models.append(
            _Model(
                slug,
                slug.partition("/")[0],
                f"{slug}-{date}",
                provider,
                provider.lower().replace(" ", "-"),
                f"5b0f2d0e-8c1c-4f5a-9a57-{place:012x}",
                input_price / 1e6,
                output_price / 1e6,
            )
        )
    return models


def _applications(text: _Text, numbers: random.Random) -> list[_Application]:
    applications = []
    for place in range(24):
        department = _DEPARTMENTS[place % len(_DEPARTMENTS)]
        applications.append(
            _Application(
                f"{department} app {place}",
                f"{department} flow {place}",
                f"step {numbers.randrange(5)} of {department}",
                department,
                "production" if place % 4 else "staging",
                f"CC-{4000 + place}",
                f"P-{place:02d}",
                numbers.choice(("pilot", "live")),
                f"{department}-key-{place}",
                text.of(250, 0.5),
                f"find_{department.replace('-', '_')}",
            )
        )
    return applications


class _Text:
    """Sentences that need no escape in JSON, at any depth."""

    def __init__(self, numbers: random.Random) -> None:
        self._numbers = numbers
        words = _WORDS.split()
        self._sentences = [
            " ".join(numbers.choice(words) for _ in range(numbers.randint(6, 20))).capitalize() + "."
            for _ in range(4096)
        ]
        self._mean = sum(map(len, self._sentences)) / len(self._sentences) + 1

    def of(self, median: float, spread: float = 1.17) -> str:
        """Text of a length that is log-normal around `median`."""
        wanted = max(1, round(self._numbers.lognormvariate(math.log(median), spread) / self._mean))
        return " ".join(self._numbers.choices(self._sentences, k=min(wanted, 2000)))


class _World:
    """Draws who calls which model when, and how it went."""

    def __init__(self, traffic: Traffic) -> None:
        self.numbers = random.Random(traffic.seed)
        self.text = _Text(self.numbers)
        self.models = _models(traffic.models)
        self.applications = _applications(self.text, self.numbers)
        self.prompt = traffic.prompt
        self._traffic = traffic

    def often_first(self, number: int) -> int:
        """A number below `number`; the smaller, the more often."""
        return int(number * self.numbers.random() ** 3)

    def user(self) -> str:
        """A user's id; all have the same length."""
        return f"u_{self.often_first(self._traffic.users):010d}"

    def tokens(self, median: float) -> int:
        """A number of tokens."""
        return 1 + int(self.numbers.lognormvariate(math.log(median), 1.0))

    def start(self, spans_before: int) -> int:
        """When the next call begins, so many spans having been generated."""
        traffic = self._traffic
        share = self.numbers.random() if traffic.spans is None else spans_before / traffic.spans
        return traffic.end - int(_DAY * traffic.days * (1 - share)) - self.numbers.randrange(1, 10**6)

    def ids(self, size: int) -> bytes:
        """Fresh bytes for ids."""
        return self.numbers.randbytes(size)


class _Template:
    """Bytes with places `<<name>>` in them."""

    def __init__(self, content: bytes) -> None:
        parts = re.split(rb"<<([a-z_]+?)_*>>", content)
        self._parts = parts
        self._names = [name.decode() for name in parts[1::2]]

    def fill(self, values: Mapping[str, bytes]) -> bytes:
        """The bytes with each place filled."""
        parts = self._parts.copy()
        parts[1::2] = [values[name] for name in self._names]
        return b"".join(parts)


# OpenRouter's deliveries

_GENERATION, _BEGAN = "gen-1795304410-Kd83mQvZrT5nYx2LpHa7", 1_795_304_410_482_000_000

# What of the sample delivery is drawn anew; longer texts stand before those that they contain.
_DRAWN = (
    ("9798d70e0868b6e5764c1648adcc2eed", "<<trace>>"),
    ("9798d70e0868b6e5", "<<root>>"),
    ("e93ae51086d3e5e7", "<<attempt>>"),
    ("56bddc1ff8ef1e6d", "<<generation_span>>"),
    (_GENERATION, "<<generation>>"),
    (str(_BEGAN), "<<began>>"),
    ("1795304410509000000", "<<asked>>"),
    ("1795304411120000000", "<<answered>>"),
    ("1795304414698000000", "<<ended>>"),
    ("1795304415343000000", "<<closed>>"),
    ("openai/gpt-5-mini-2025-08-07", "<<dated_model>>"),
    ("openai/gpt-5-mini", "<<model>>"),
    ('"stringValue":"openai"', '"stringValue":"<<author>>"'),
    ("Invoice Matching", "<<trace_name>>"),
    ("Match line items", "<<step>>"),
    ("You match purchase orders to invoices. Answer with a tool call.", "<<instructions>>"),
    ("Invoice 88213 from Northwind, 3 lines, total 1,204.50 EUR. Which PO is it?", "<<prompt>>"),
    ("The vendor and the total are enough to search for the order.", "<<reasoning>>"),
    (r"\"completion\":\"\"", r"\"completion\":\"<<completion>>\""),
    ("find_po", "<<tool>>"),
    ("call_7Qp2", "call_<<call>>"),
    ("resp_0a51c7", "resp_<<response>>"),
    ("u_58213", "<<user>>"),
    ("ap-2026-11-22-0093", "<<session>>"),
    ("finance-ops", "<<department>>"),
    ('"production', '"<<environment>>'),
    ("CC-4410", "<<cost_center>>"),
    ("AP-17", "<<project>>"),
    ("pilot", "<<phase>>"),
    ("AP Matcher", "<<application>>"),
    ("ap-matcher-prod", "<<key_name>>"),
    ("5b0f2d0e-8c1c-4f5a-9a57-4bd1f0a7c2de", "<<endpoint>>"),
    ("Azure", "<<provider>>"),
    ('"azure"', '"<<provider_slug>>"'),
    ('"code":1', '"code":<<status>>'),
    (r"\"status\":200", r"\"status\":<<http_status>>"),
    ('"intValue":200', '"intValue":<<http_status>>'),
    ('"intValue":42}', '"intValue":<<run>>}'),
    (r"\"run_number\":42", r"\"run_number\":<<run>>"),
    ("18390", "<<input>>"),
    ("18432", "<<input>>"),
    ("19174", "<<total>>"),
    ("16000", "<<cached>>"),
    (":739", ":<<output>>"),
    (":742", ":<<output>>"),
    (":256", ":<<thought>>"),
    ("0.00504", "<<input_cost>>"),
    ("0.00742", "<<output_cost>>"),
    ("0.01246", "<<cost>>"),
    ("-0.018", "<<saved>>"),
    ("1.25e-6", "<<input_price>>"),
    ("0.00001}", "<<output_price>>}"),
    ('"doubleValue":27}', '"doubleValue":<<router_ms>>}'),
    ("611", "<<headers_ms>>"),
    ('"doubleValue":902}', '"doubleValue":<<first_token_ms>>}'),
    ('"doubleValue":875}', '"doubleValue":<<first_token_ms>>}'),
    ('"doubleValue":4211}', '"doubleValue":<<body_ms>>}'),
    ("4.459514170040486", "<<token_ms>>"),
)


def deliveries(traffic: Traffic) -> Iterator[bytes]:
    """OpenRouter's deliveries in OTLP/JSON, three spans each."""
    world = _World(traffic)
    template = _delivery_template()
    for number in count():
        spans = number * SPANS_PER_DELIVERY
        if traffic.spans is not None and spans >= traffic.spans:
            return
        values = _delivery_values(world, world.start(spans))
        yield template.fill({name: str(value).encode() for name, value in values.items()})


def _delivery_template() -> _Template:
    text = orjson.dumps(sample_delivery(_GENERATION, _BEGAN)).decode()
    for original, place in _DRAWN:
        if original not in text:
            raise LookupError(f"the sample delivery has no {original} any more: change what is drawn")
        text = text.replace(original, place)
    return _Template(text.encode())


def _delivery_values(world: _World, start: int) -> dict[str, str | int | float]:
    numbers = world.numbers
    ids = world.ids(64)
    model = world.models[world.often_first(len(world.models))]
    application = world.applications[world.often_first(len(world.applications))]
    user = world.user()
    prompt, completion = world.text.of(world.prompt), world.text.of(world.prompt / 2, 0.8)
    # Histories and tools are counted by the provider but are not all in what OpenRouter shows.
    read = world.tokens(1500) + len(prompt) // 4
    written, thought = len(completion) // 4 + 40, world.tokens(60)
    output = written + thought
    cached = int(read * 0.8) if numbers.random() < _CACHED else 0
    failed = numbers.random() < _FAILED
    input_cost = round((read - 0.9 * cached) * model.input_price, 9)
    output_cost = round(output * model.output_price, 9)
    router, headers = numbers.randint(8, 60), numbers.randint(120, 2000)
    token = numbers.uniform(2.0, 25.0)
    body = headers + 100 + round(output * token)
    return {
        "trace": ids[:16].hex(),
        "root": ids[:8].hex(),
        "attempt": ids[16:24].hex(),
        "generation_span": ids[24:32].hex(),
        "generation": generation_id(start // 10**9, ids[32:52]),
        "response": ids[52:58].hex(),
        "call": ids[58:].hex(),
        "began": start,
        "asked": start + router * _MS,
        "answered": start + (router + headers) * _MS,
        "ended": start + (router + body) * _MS,
        "closed": start + (router + body + 40) * _MS,
        "dated_model": model.dated,
        "model": model.slug,
        "author": model.author,
        "provider": model.provider,
        "provider_slug": model.provider_slug,
        "endpoint": model.endpoint,
        "application": application.title,
        "trace_name": application.trace,
        "step": application.step,
        "department": application.department,
        "environment": application.environment,
        "cost_center": application.cost_center,
        "project": application.project,
        "phase": application.phase,
        "key_name": application.key_name,
        "instructions": application.instructions,
        "tool": application.tool,
        "prompt": prompt,
        "reasoning": world.text.of(80, 0.5),
        "completion": completion,
        "user": user,
        "session": f"s-{user[2:]}-{numbers.randrange(20)}",
        "run": numbers.randrange(1000),
        "status": 2 if failed else 1,
        "http_status": 529 if failed else 200,
        "input": read,
        "output": output,
        "total": read + output,
        "cached": cached,
        "thought": thought,
        "input_cost": input_cost,
        "output_cost": output_cost,
        "cost": round(input_cost + output_cost, 9),
        "saved": -round(0.9 * cached * model.input_price, 9),
        "input_price": model.input_price,
        "output_price": model.output_price,
        "router_ms": router,
        "headers_ms": headers,
        "first_token_ms": headers + 90,
        "body_ms": body,
        "token_ms": token,
    }


# The batches of OpenTelemetry SDKs

# Ids and times of the templates: as long as what they are filled with, so that no length changes in protobuf.
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"<<trace_______>>", b"<<span>>", b"<<up__>>"
_FROM, _UNTIL = b"<<from>>", b"<<till>>"
_USER, _CONVERSATION, _RESPONSE = "<<user____>>", "<<conversation_____>>", "<<response____________________>>"


def batches(traffic: Traffic, form: Form, size: int = SPANS_PER_BATCH) -> Iterator[bytes]:
    """Batches of an SDK that follows OpenTelemetry's GenAI conventions, `size` spans with 29 attributes each."""
    world = _World(traffic)
    pool = [_sdk_span(world, is_agent=number % _TRACE == 0) for number in range(_POOL - _POOL % _TRACE)]
    is_json = form == "json"
    templates = [_Template(_span_json(span) if is_json else _span_protobuf(span)) for span in pool]
    wrap = _request_json if is_json else _request_protobuf
    for first in count(step=size):
        number = size if traffic.spans is None else min(size, traffic.spans - first)
        if number <= 0:
            return
        spans: list[bytes] = []
        while len(spans) < number:
            spans += _sdk_trace(world, templates, world.start(first + len(spans)), is_json=is_json)
        yield wrap(spans[:number])


def _sdk_trace(world: _World, templates: Sequence[_Template], start: int, *, is_json: bool) -> list[bytes]:
    """An agent's span and those of its calls, with fresh ids."""
    ids = world.ids(16 + 8 * _TRACE + 12 * _TRACE)
    trace, root = ids[:16], ids[16:24]
    user = world.user().encode()
    shared = {
        "trace": trace.hex().encode() if is_json else trace,
        "user": user,
        "conversation": b"%s-%08x" % (user, world.numbers.randrange(50)),
    }
    place = world.numbers.randrange(len(templates) // _TRACE) * _TRACE
    spans = []
    for number in range(_TRACE):
        span, response = ids[16 + 8 * number :][:8], ids[16 + 8 * _TRACE + 12 * number :][:12]
        begin = start + number * 900 * _MS
        end = begin + (5000 if number == 0 else 800) * _MS
        if is_json:
            own = {"span": span.hex(), "up": root.hex(), "from": str(begin), "till": str(end)}
            values = {name: value.encode() for name, value in own.items()}
        else:
            values = {"span": span, "up": root, "from": struct.pack("<Q", begin), "till": struct.pack("<Q", end)}
        values["response"] = b"chatcmpl" + response.hex().encode()
        spans.append(templates[place + number].fill(shared | values))
    return spans


@dataclass(frozen=True, slots=True)
class _SdkSpan:
    name: str
    kind: Span.SpanKind.ValueType
    is_root: bool
    failed: bool
    attributes: dict[str, Value]


def _sdk_span(world: _World, *, is_agent: bool) -> _SdkSpan:
    numbers = world.numbers
    model = world.models[world.often_first(len(world.models))]
    application = world.applications[world.often_first(len(world.applications))]
    name = model.slug.partition("/")[2]
    prompt, completion = world.text.of(world.prompt), world.text.of(world.prompt / 2, 0.8)
    read, thought = world.tokens(1500) + len(prompt) // 4, world.tokens(60)
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "invoke_agent" if is_agent else "chat",
        "gen_ai.provider.name": model.author,
        "gen_ai.system": model.author,
        "gen_ai.request.model": name,
        "gen_ai.response.model": name,
        "gen_ai.agent.id" if is_agent else "gen_ai.response.id": _RESPONSE,
        "gen_ai.conversation.id": _CONVERSATION,
        "gen_ai.agent.name": application.title,
        "gen_ai.request.temperature": round(numbers.random(), 2),
        "gen_ai.request.top_p": 0.95,
        "gen_ai.request.max_tokens": 4096,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.request.seed": numbers.randrange(10**6),
        "gen_ai.request.choice.count": 1,
        "gen_ai.response.finish_reasons": [numbers.choice(("stop", "stop", "tool_calls", "length"))],
        "gen_ai.usage.input_tokens": read,
        "gen_ai.usage.output_tokens": len(completion) // 4 + thought,
        "gen_ai.usage.cache_read.input_tokens": int(read * 0.8) if numbers.random() < _CACHED else 0,
        "gen_ai.usage.reasoning.output_tokens": thought,
        "gen_ai.output.type": "text",
        "gen_ai.system_instructions": _json_text([{"type": "text", "content": application.instructions}]),
        "gen_ai.input.messages": _json_text([{"role": "user", "parts": [{"type": "text", "content": prompt}]}]),
        "gen_ai.output.messages": _json_text(
            [{"role": "assistant", "parts": [{"type": "text", "content": completion}], "finish_reason": "stop"}]
        ),
        "user.id": _USER,
        "server.address": f"api.{model.provider_slug}.example",
        "server.port": 443,
        "deployment.environment.name": application.environment,
        "app.department": application.department,
    }
    kind = Span.SPAN_KIND_INTERNAL if is_agent else Span.SPAN_KIND_CLIENT
    title = f"invoke_agent {application.title}" if is_agent else f"chat {name}"
    return _SdkSpan(title, kind, is_agent, numbers.random() < _FAILED, attributes)


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


_RESOURCE: dict[str, Value] = {
    "service.name": "agents",
    "service.version": "2.3.1",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.45.2",
    "host.name": "worker-3",
}
_SCOPE, _SCOPE_VERSION = "opentelemetry.instrumentation.openai_v2", "2.1b0"


def _request_json(spans: Sequence[bytes]) -> bytes:
    resource = orjson.dumps({"attributes": _attributes_json(_RESOURCE)})
    scope = orjson.dumps({"name": _SCOPE, "version": _SCOPE_VERSION})
    return b'{"resourceSpans":[{"resource":%s,"scopeSpans":[{"scope":%s,"spans":[%s]}]}]}' % (
        resource,
        scope,
        b",".join(spans),
    )


def _span_json(span: _SdkSpan) -> bytes:
    parent = {} if span.is_root else {"parentSpanId": "<<up>>"}
    return orjson.dumps(
        {
            "traceId": "<<trace>>",
            "spanId": "<<span>>",
            "flags": 257,
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": "<<from>>",
            "endTimeUnixNano": "<<till>>",
            "status": {"code": 2} if span.failed else {},
            "attributes": _attributes_json(span.attributes),
        }
        | parent
    )


def _attributes_json(attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value_json(value)} for key, value in attributes.items()]


def _value_json(value: Value) -> dict[str, Any]:
    match value:
        case str():
            return {"stringValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
    return {"arrayValue": {"values": [_value_json(item) for item in value]}}


def _request_protobuf(spans: Sequence[bytes]) -> bytes:
    """An ExportTraceServiceRequest of spans that are serialized already."""
    resource = Resource(attributes=_attributes_protobuf(_RESOURCE)).SerializeToString()
    scope = InstrumentationScope(name=_SCOPE, version=_SCOPE_VERSION).SerializeToString()
    resource, scope = _head(1, len(resource)) + resource, _head(1, len(scope)) + scope
    scope_length = len(scope) + sum(map(len, spans))
    scope_head = _head(2, scope_length)
    resource_length = len(resource) + len(scope_head) + scope_length
    return b"".join((_head(1, resource_length), resource, scope_head, scope, *spans))


def _head(number: int, length: int) -> bytes:
    """What stands before a field of bytes in protobuf's encoding: number and kind, the length in steps of 7 bits."""
    head = bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _span_protobuf(span: _SdkSpan) -> bytes:
    """The span as a field of ScopeSpans."""
    message = Span(
        trace_id=_TRACE_ID,
        span_id=_SPAN_ID,
        parent_span_id=b"" if span.is_root else _PARENT_ID,
        flags=257,
        name=span.name,
        kind=span.kind,
        start_time_unix_nano=int.from_bytes(_FROM, "little"),
        end_time_unix_nano=int.from_bytes(_UNTIL, "little"),
        status=Status(code=Status.STATUS_CODE_ERROR if span.failed else Status.STATUS_CODE_UNSET),
        attributes=_attributes_protobuf(span.attributes),
    )
    content = message.SerializeToString()
    return _head(2, len(content)) + content


def _attributes_protobuf(attributes: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value_protobuf(value)) for key, value in attributes.items()]


def _value_protobuf(value: Value) -> AnyValue:
    match value:
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[_value_protobuf(item) for item in value]))
