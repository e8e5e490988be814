"""The embedded ClickHouse: the chdb engine in a child process that answers ClickHouse's HTTP protocol.

Run by hand with `python -m exporters.clickhouse.embedded --path DIR`; the gateway runs it through `EmbeddedClickHouse`.
"""

from exporters.clickhouse.embedded.child import EmbeddedClickHouse, EmbeddedError
from exporters.clickhouse.embedded.users import Limits, Role, User, Users, hash_password

__all__ = ["EmbeddedClickHouse", "EmbeddedError", "Limits", "Role", "User", "Users", "hash_password"]
