"""A pipe that a thread of the engine writes and the event loop reads.

Not by `connect_read_pipe`: uvloop closes the descriptor twice there, and the second close may hit a file that the
engine has opened in between.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

_PIECE: Final = 1 << 18


class Pipe:
    """An open pipe; `path` is what the engine opens to write to it. For use on the event loop, but for `end`."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._may_read = asyncio.Event()
        self.path = f"/dev/fd/{self._write_end}"

    async def read(self) -> bytes:
        """The next piece, empty at the end."""
        while True:
            if self._read_end < 0:
                return b""
            try:
                return os.read(self._read_end, _PIECE)
            except BlockingIOError:
                await self._readable()

    def end(self) -> None:
        """Write no more: once the engine has closed what it opened, the reader comes to the end. From any thread."""
        write_end, self._write_end = self._write_end, -1
        if write_end >= 0:
            os.close(write_end)

    def close(self) -> None:
        """Close both ends, once the engine is done."""
        self.end()
        self.close_reading()

    def close_reading(self) -> None:
        """Read no more; whoever still writes gets an error."""
        read_end, self._read_end = self._read_end, -1
        if read_end >= 0:
            asyncio.get_running_loop().remove_reader(read_end)
            os.close(read_end)
            self._may_read.set()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._may_read.clear()
        loop.add_reader(self._read_end, self._may_read.set)
        try:
            await self._may_read.wait()
        finally:
            if self._read_end >= 0:
                loop.remove_reader(self._read_end)
