"""The values that settings are made of beside plain ones: secrets, endpoints and component ids.

Each prints readably and reads back from what it prints, except the secret, which prints as `****`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import PydanticKnownError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_COMPONENT_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}(?:/[A-Za-z0-9_.-]{1,63})?")


class Secret:
    """A text that shows itself only to `reveal()`; everywhere else it is `****`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        # Settings compare with settings here. A sender's key is looked up by its hash and never compared.
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __str__(self) -> str:
        return "****"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Text in, a Secret out; `****` in JSON if it is not empty, unless the context asks to `reveal`."""
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                _print_secret, info_arg=True, when_used="json"
            ),
        )

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        return cls(str(value))


def _print_secret(secret: Secret, info: core_schema.SerializationInfo) -> str:
    revealed = isinstance(info.context, dict) and info.context.get("reveal") is True
    # That a secret is not set is worth seeing, and hides nothing.
    return secret.reveal() if revealed or not secret else str(secret)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen or connect: a host name or address, and a port (0: any free one, when listening)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`host:port`, an IPv6 address in brackets. No message repeats the text, which may hold a password."""
        if "://" in text:
            raise ValueError("must be host:port without a scheme such as http://; write 127.0.0.1:4318")
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            raise ValueError("has no port; write host:port, such as 127.0.0.1:4318")
        if not (re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535):
            raise ValueError("its port is not a number from 0 to 65535; write host:port, such as 127.0.0.1:4318")
        return cls(_parse_host(host), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Text in, an Endpoint out; text again in JSON."""
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("must be host:port, such as 127.0.0.1:4318")  # noqa: TRY004 - pydantic gathers ValueErrors
        return cls.parse(value)


def _parse_host(host: str) -> str:
    if not host:
        raise ValueError("has no host; write 127.0.0.1 before the port, or 0.0.0.0 to listen on every address")
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError("what stands in [ ] is not an IPv6 address; write one such as [::1]:4318") from None
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets; write it like [::1]:4318")
    if not _HOST.fullmatch(host):
        raise ValueError("its host is neither a name nor an address; write host:port, such as 127.0.0.1:4318")
    return host


class ComponentId(str):
    """`type` or `type/name`, as in the Collector: the type picks the component, the name tells several apart."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """The part that picks the component."""
        return self.partition("/")[0]

    @property
    def name(self) -> str:
        """The part that tells components of one type apart; empty if there is none."""
        return self.partition("/")[2]

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id that `text` writes; ValueError if it is none."""
        if not _COMPONENT_ID.fullmatch(text):
            raise ValueError("is not a component id; write type or type/name, such as otlp or otlp/internal")
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Text in, a ComponentId out."""
        return core_schema.no_info_after_validator_function(
            cls.parse,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
        )
