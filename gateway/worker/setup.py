"""What a worker is told when it is started, over its standard input: no list of processes shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import orjson

from config import Secret, Settings, to_plain
from exporters.clickhouse.settings import Login


@dataclass(frozen=True, slots=True)
class Setup:
    """A worker's number, counted from 0, the settings of all, and as whom to insert and to change the schema."""

    number: int
    settings: Settings
    writer: Login
    owner: Login

    def dump(self) -> bytes:
        """As one line; it holds secrets."""
        logins = {"writer": self.writer, "owner": self.owner}
        document = {
            "number": self.number,
            "settings": to_plain(self.settings, redacted=False),
            **{name: [login.username, login.password.reveal()] for name, login in logins.items()},
        }
        return orjson.dumps(document) + b"\n"

    @classmethod
    def load(cls, line: bytes) -> Self:
        """What `dump` gave."""
        document = orjson.loads(line)
        writer, owner = (Login(name, Secret(password)) for name, password in (document["writer"], document["owner"]))
        return cls(document["number"], Settings.from_mapping(document["settings"]), writer, owner)
