"""The profile's stages: who is blamed for what was seen, and how CPU time is divided."""

from __future__ import annotations

import pytest

from benchmarks.throughput.profile import ORDER, Profile, Stack, read

_RAW = """\
thread (7): MainThread;main (gateway/cli/main.py:3);run (asyncio/runners.py:118) 30
thread (7): MainThread;run (asyncio/runners.py:118);OtlpHttpReceiver.handle (gateway/receivers/otlp_http.py:60) 10
thread (8): pipeline_0;Pipeline._process (gateway/pipeline.py:203);decode_json (otlp/decode_json.py:57) 4
"""
_PROCESS = "Pipeline._process (gateway/pipeline.py:203)"


def stage_of(*frames: str) -> str:
    """The stage of a single stack."""
    (stage,) = Profile([Stack(1, frames, 1)], {1: 1.0}).stages()
    return stage


def test_a_thread_s_cpu_time_is_divided_by_what_was_seen_in_it() -> None:
    """A thread that was seen often but ran little, because it waited for a core, weighs what it ran."""
    stages = Profile(read(_RAW), {7: 2.0, 8: 6.0, 9: 1.0}).stages()
    assert stages == pytest.approx(
        {"event loop": 1.5, "receive: HTTP and gRPC": 0.5, "decode: parse": 6.0, "threads without Python": 1.0}
    )
    assert set(stages) <= set(ORDER)


def test_what_several_stages_call_belongs_to_the_one_that_called_it() -> None:
    """The innermost frame that is a stage's own decides."""
    assert (
        stage_of(_PROCESS, "canonicalize (processors/genai.py:75)", "pick (processors/pick.py:9)") == "process: genai"
    )


def test_a_file_with_several_stages_is_told_apart_by_its_functions() -> None:
    """Encoding and inserting are both the exporter's, nested functions included."""
    file = "exporters/clickhouse/exporter.py"
    assert stage_of(_PROCESS, f"ClickHouseExporter.encode ({file}:47)", "pack (packed.py:1)") == "encode"
    insert = f"ClickHouseExporter.insert ({file}:80)"
    assert stage_of("ExportLoop._send.<locals>.<lambda> (gateway/export_loop.py:9)", insert) == "export: insert"


def test_what_no_stage_knows_is_told_as_such() -> None:
    """Nothing is left out of the sum."""
    assert stage_of("<module> (somewhere.py:1)") == "others"
