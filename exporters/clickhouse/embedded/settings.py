"""The settings of the embedded ClickHouse: where it listens, where its data is, who may use it and for how much."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config import ByteSize, Duration, Endpoint, Model, Secret
from exporters.clickhouse.embedded.memory import machine_memory
from exporters.clickhouse.embedded.users import DEFAULT_USER, OWN_PREFIX, Limits, Role, User, hash_password, is_loopback

_GIB = 1 << 30
_USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}")


def _check_user_name(name: str) -> str:
    if not _USER_NAME.fullmatch(name):
        raise ValueError("is not a user's name; use 1 to 63 of letters, digits, _, ., @ and -")
    if name.startswith(OWN_PREFIX):
        raise ValueError("is one of Tollgate's own users; choose a name that does not begin with tollgate")
    return name


def _empty_as_map(value: object) -> object:
    return {} if value is None else value


class UserSettings(Model):
    """A user of the embedded ClickHouse. A query over a limit gets ClickHouse's own error; 0 is no limit."""

    role: Annotated[Role, Field(strict=False)] = Role.READER
    password: Secret = Secret("")
    password_sha256_hex: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    max_memory_usage: ByteSize = 2 * _GIB
    max_execution_time: Duration = timedelta(minutes=5)
    max_result_rows: int = Field(default=0, ge=0)
    max_result_bytes: ByteSize = 4 * _GIB
    max_concurrent_queries: int = Field(default=256, ge=0)

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password and self.password_sha256_hex:
            raise ValueError("has both password and password_sha256_hex; keep one")
        if self.role is not Role.READER and not self.password and not self.password_sha256_hex:
            raise ValueError(
                f"has the role {self.role} and no password; give it one, such as ${{env:CLICKHOUSE_ADMIN}}"
            )
        return self

    def user(self, name: str) -> User:
        """The user of this name."""
        limits = Limits(
            self.max_memory_usage,
            self.max_execution_time.total_seconds(),
            self.max_result_rows,
            self.max_result_bytes,
            self.max_concurrent_queries,
        )
        digest = hash_password(self.password.reveal()) if self.password else self.password_sha256_hex
        return User(name, self.role, digest, limits)


class RestartSettings(Model):
    """How long to wait before the child is started again after it died; longer each time, until it runs for a while."""

    initial_interval: Duration = timedelta(milliseconds=100)
    max_interval: Duration = timedelta(seconds=10)


class EmbeddedSettings(Model):
    """The embedded ClickHouse.

    Its data is in `path`, if that is empty in `clickhouse` in the data directory. All queries together may use
    `max_server_memory_usage`, half of the machine's memory if that is 0. With less than `min_free_disk` free on its
    disk the operator is warned. There is always a user `default`, who reads without a password unless the settings say
    otherwise.
    """

    endpoint: Endpoint = Endpoint("127.0.0.1", 8123)
    path: str = ""
    max_server_memory_usage: ByteSize = 0
    min_free_disk: ByteSize = _GIB
    restart: RestartSettings = RestartSettings()
    users: Annotated[
        dict[Annotated[str, AfterValidator(_check_user_name)], UserSettings], BeforeValidator(_empty_as_map)
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _passwords_beyond_this_machine(self) -> Self:
        open_to_all = [user.name for user in self.all_users() if not user.has_password]
        if open_to_all and not is_loopback(self.endpoint.host):
            raise ValueError(
                f"listens on {self.endpoint}, where others can reach it, but user {open_to_all[0]} has no password; "
                f"set users::{open_to_all[0]}::password, or listen on 127.0.0.1"
            )
        return self

    def all_users(self) -> list[User]:
        """The users, `default` among them."""
        return [settings.user(name) for name, settings in ({DEFAULT_USER: UserSettings()} | dict(self.users)).items()]

    def directory(self, data_directory: Path) -> Path:
        """The directory of its data."""
        return Path(self.path) if self.path else data_directory / "clickhouse"

    @property
    def memory(self) -> int:
        """Bytes of memory for all queries together."""
        return self.max_server_memory_usage or machine_memory() // 2
