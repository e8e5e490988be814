"""Where a gateway process spends its CPU time, by stage.

py-spy shows the stacks of threads that are ready to run, /proc how much each thread did run. A thread's CPU time is
divided by how often each stage was seen in it; the time of threads that have no Python in them is a stage of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import thread_seconds

_RATE = 200  # samples a second
_OTHERS, _NO_PYTHON = "others", "threads without Python"
_FRAME = re.compile(r"(?P<function>[^;]+?) \((?P<file>[^;()]+?)(?::\d+)?\)$")
_THREAD = re.compile(r"thread \((?P<id>\d+)\)")


@dataclass(frozen=True, slots=True)
class Stack:
    """A thread's frames, the outermost first, as `function (file:line)`, and how often they were seen."""

    thread: int
    frames: tuple[str, ...]
    samples: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What was seen of a process, and the CPU seconds of its threads meanwhile."""

    stacks: list[Stack]
    seconds: dict[int, float]

    def stages(self) -> dict[str, float]:
        """CPU seconds by stage."""
        seen: dict[int, Counter[str]] = {}
        for stack in self.stacks:
            seen.setdefault(stack.thread, Counter())[_stage(stack.frames)] += stack.samples
        found: dict[str, float] = {}
        for thread, seconds in self.seconds.items():
            samples = seen.get(thread, Counter({_NO_PYTHON: 1}))
            for stage, number in samples.items():
                found[stage] = found.get(stage, 0.0) + seconds * number / samples.total()
        return found


# The innermost frame that is named here says what its sample belongs to: the stage, part of the file's path, and which
# functions of it (none: all). What several stages call (picking columns, say) is not named, so its caller decides.
_STAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("receive: decompress", "gateway/receivers/body.py", ("decompress", "_gunzip")),
    ("receive: HTTP and gRPC", "gateway/receivers/", ()),
    ("receive: HTTP and gRPC", "aiohttp/", ()),
    ("receive: HTTP and gRPC", "grpc/", ()),
    ("receive: keys", "gateway/authentication.py", ()),
    ("decode: parse", "otlp/decode_json.py", ()),
    ("decode: parse", "otlp/decode_protobuf.py", ()),
    ("decode: columns", "otlp/builder.py", ()),
    ("process: privacy", "processors/privacy.py", ()),
    ("process: metadata", "processors/metadata.py", ()),
    ("process: genai", "processors/genai.py", ()),
    ("process: cost", "processors/cost.py", ()),
    ("encode", "exporters/clickhouse/exporter.py", ("encode",)),
    ("spool: write and sync", "gateway/spool/spool.py", ()),
    ("export: read", "gateway/spool/segment.py", ("read_segment",)),
    ("export: unpack", "exporters/clickhouse/exporter.py", ("unpack",)),
    ("export: cut", "exporters/clickhouse/exporter.py", ("place",)),
    ("export: cut", "gateway/export_loop.py", ("_units",)),
    ("export: project", "exporters/clickhouse/rows.py", ("project",)),
    ("export: send", "exporters/clickhouse/client.py", ()),
    ("export: insert", "exporters/clickhouse/exporter.py", ("insert",)),
    ("export: others", "gateway/export_loop.py", ()),
    ("pipeline: batches and answers", "gateway/pipeline.py", ()),
    ("operations and metrics", "gateway/operations.py", ()),
    ("event loop", "asyncio/", ()),
    ("event loop", "uvloop/", ()),
)


ORDER = tuple(dict.fromkeys([stage for stage, _, _ in _STAGES] + [_OTHERS, _NO_PYTHON]))
"""All stages, in the order of a span's way."""


def watch(pid: int, seconds: float) -> Profile:
    """Watch a process for so long. It is not halted for each look, which would disturb what is seen."""
    with tempfile.NamedTemporaryFile() as file:
        command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--output", file.name]
        options = ["--format", "raw", "--threads", "--nonblocking", "--rate", str(_RATE)]
        before = thread_seconds(pid)
        done = subprocess.run(
            [*command, *options, "--duration", str(max(1, round(seconds)))], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"py-spy cannot watch process {pid}: {done.stderr.strip()}")
        cpu = {thread: now - before.get(thread, 0) for thread, now in thread_seconds(pid).items()}
        return Profile(read(Path(file.name).read_text()), cpu)


def read(raw: str) -> list[Stack]:
    """Stacks from py-spy's raw format: a line each, thread and frames joined by semicolons, and the count."""
    stacks = []
    for line in raw.splitlines():
        frames, _, samples = line.rpartition(" ")
        thread, *calls = frames.split(";")
        if found := _THREAD.match(thread):
            stacks.append(Stack(int(found["id"]), tuple(calls), int(samples)))
    return stacks


def _stage(frames: tuple[str, ...]) -> str:
    for frame in reversed(frames):
        if found := _FRAME.match(frame):
            name = found["function"].rpartition(".")[2]
            for stage, file, functions in _STAGES:
                if file in found["file"] and (not functions or name in functions):
                    return stage
    return _OTHERS
