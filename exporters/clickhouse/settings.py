"""The settings of the ClickHouse exporter: a server's address, or the embedded one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from config import Duration, Endpoint, Model, Secret
from exporters.clickhouse.embedded.settings import EmbeddedSettings

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- to connect to, not to listen on


@dataclass(frozen=True, slots=True)
class Login:
    """As whom to speak to ClickHouse."""

    username: str
    password: Secret


class RetrySettings(Model):
    """How long to wait between attempts; attempts go on until they succeed."""

    initial_interval: Duration = timedelta(milliseconds=500)
    max_interval: Duration = timedelta(seconds=30)


class ClickHouseSettings(Model):
    """Either `endpoint`, the URL of a server, or `embedded`; neither means embedded."""

    endpoint: str = Field(default="", pattern=r"^(https?://[^\s/@]+/?)?$")
    embedded: EmbeddedSettings | None = None
    database: str = Field(default="tollgate", min_length=1)
    username: str = "default"
    password: Secret = Secret("")
    timeout: Duration = timedelta(seconds=30)
    retry_on_failure: RetrySettings = RetrySettings()

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if self.endpoint and self.embedded is not None:
            raise ValueError("has both endpoint and embedded; remove one: a server's URL, or the embedded ClickHouse")
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether Tollgate runs ClickHouse itself."""
        return not self.endpoint

    @property
    def own_server(self) -> EmbeddedSettings:
        """The embedded server's settings."""
        return self.embedded or EmbeddedSettings()

    @property
    def url(self) -> str:
        """Where ClickHouse answers."""
        if self.endpoint:
            return self.endpoint
        own = self.own_server.endpoint
        return f"http://{Endpoint(_ANY_ADDRESS.get(own.host, own.host), own.port)}"

    @property
    def login(self) -> Login:
        """Who reads, and on a server also writes; of the embedded ClickHouse's users the passwords are known here."""
        known = self.own_server.users.get(self.username) if self.is_embedded else None
        return Login(self.username, self.password or (known.password if known is not None else self.password))
