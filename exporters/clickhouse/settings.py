"""The settings of the ClickHouse exporter: a server's address, or the embedded one."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from config import Duration, Endpoint, Model, Secret


def _on_this_machine(endpoint: Endpoint) -> Endpoint:
    try:
        is_loopback = ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        is_loopback = endpoint.host == "localhost"
    if not is_loopback:
        raise ValueError("must be an address of this machine only, because it asks for no password; use 127.0.0.1")
    return endpoint


class EmbeddedSettings(Model):
    """The embedded ClickHouse: where it listens, and where its data is (empty: `clickhouse` in the data directory)."""

    endpoint: Annotated[Endpoint, AfterValidator(_on_this_machine)] = Endpoint("127.0.0.1", 8123)
    path: str = ""

    def directory(self, data_directory: Path) -> Path:
        """The directory of its data."""
        return Path(self.path) if self.path else data_directory / "clickhouse"


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
        return self.endpoint or f"http://{self.own_server.endpoint}"
