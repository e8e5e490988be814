"""Keeps this process within the database's directory by Linux's Landlock, whatever the engine would open.

The walls before it judge what a query says; this one does not have to understand it.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_RULE_PATH_BENEATH: Final = 1
_VERSION_FLAG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_EXECUTE, _WRITE, _READ, _READ_DIRECTORY, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_OF_FILES: Final = _EXECUTE | _WRITE | _READ | _TRUNCATE
_RIGHTS_OF_VERSION: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}  # later ones add none for files

# Libraries, time zones, what tells of the machine, names and certificates for an admin's own connections.
_READABLE: Final = (
    *(
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/sys/fs/cgroup",
        "/sys/devices/system",
        "/sys/kernel/mm",
        "/proc/self",
        "/proc/sys",
    ),
    *("/proc/meminfo", "/proc/stat", "/proc/cpuinfo", "/proc/loadavg", "/proc/uptime", "/proc/filesystems"),
    *("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/localtime"),
    *("/etc/ssl", "/etc/ld.so.cache", "/dev/urandom"),
)
_WRITABLE_FILES: Final = ("/dev/null",)


def confine(directories: Iterable[Path]) -> bool:
    """Let this process open nothing for writing but what is in the directories; False where the system cannot.

    Beside them it reads Python's own files and those of `_READABLE`. It holds for the threads that are started
    afterwards, and for good. Raises OSError if the system refuses what it says it can.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return False
    rights = _RIGHTS_OF_VERSION[min(version, max(_RIGHTS_OF_VERSION))]
    attributes = struct.pack("Q", rights)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path in directories:
            _allow(libc, ruleset, str(path), rights)
        for name in (*_READABLE, sys.prefix, sys.base_prefix, sys.exec_prefix):
            _allow(libc, ruleset, name, rights & (_READ | _READ_DIRECTORY | _EXECUTE))
        for name in _WRITABLE_FILES:
            _allow(libc, ruleset, name, rights & (_READ | _WRITE | _TRUNCATE))
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        _checked(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("<Qi", rights, descriptor), 0))
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
