"""The engine's own access control: its configuration file, with a role for each of ours.

The engine has one user, `default`, to whom these roles are granted. A connection takes one of them with SET ROLE before
it runs anything of a client's, and `rules.py` lets no client change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from exporters.clickhouse.embedded.query import LABEL
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from pathlib import Path

# What tells of others' queries: a user sees their own running ones, and of the rest nothing.
_IS_ADMIN: Final = f"has(currentRoles(), '{Role.ADMIN}')"
_OWN: Final = f"JSONExtractString(Settings['{LABEL}'], 'user') = JSONExtractString(getSetting('{LABEL}'), 'user')"
_ROWS: Final = {"processes": f"{_IS_ADMIN} OR {_OWN}"} | dict.fromkeys(
    ("asynchronous_inserts", "backups", "errors", "query_cache", "statements", "user_processes", "user_query_log"),
    _IS_ADMIN,
)
FILE_NAME: Final = "tollgate-engine.xml"

_READS: Final = "SHOW, SELECT, dictGet"
_GRANTS: Final = {
    Role.READER: f"GRANT {_READS} ON *.*",
    Role.WRITER: f"GRANT {_READS}, INSERT, CREATE TEMPORARY TABLE ON *.*",
    Role.ADMIN: "GRANT ALL ON *.* WITH GRANT OPTION",
}


def write_configuration(directory: Path, backups: Path, max_server_memory_usage: int) -> None:
    """Write the engine's configuration file into its database directory; raises OSError.

    `backups` is where BACKUP may write and RESTORE read; `max_server_memory_usage` is in bytes. Everything is in one
    file, which is its own `users_config`.
    """
    roles = "".join(f"<{role}><grants><query>{grant}</query></grants></{role}>" for role, grant in _GRANTS.items())
    rows = "".join(f"<{table}><filter>{escape(rule)}</filter></{table}>" for table, rule in _ROWS.items())
    granted = "".join(f"<query>GRANT {role}</query>" for role in _GRANTS)
    (directory / FILE_NAME).write_text(
        f"""<clickhouse>
    <!-- Written at every start; changes here are lost. -->
    <max_server_memory_usage>{max_server_memory_usage}</max_server_memory_usage>
    <backups><allowed_path>{escape(str(backups))}</allowed_path></backups>
    <users_config>{FILE_NAME}</users_config>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <roles>{roles}</roles>
    <users>
        <default>
            <password/>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>{granted}</grants>
            <databases><system>{rows}</system></databases>
        </default>
    </users>
</clickhouse>
"""
    )
