"""How much memory there is for the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporters.clickhouse.embedded.memory import machine_memory

if TYPE_CHECKING:
    from pathlib import Path

PHYSICAL = machine_memory(())


@pytest.mark.parametrize(
    ("text", "expected"), [("1048576\n", 1048576), ("max\n", PHYSICAL), (str(PHYSICAL * 2), PHYSICAL), ("", PHYSICAL)]
)
def test_a_containers_limit_counts_if_it_is_lower(tmp_path: Path, text: str, expected: int) -> None:
    """The lower of the machine's memory and the container's limit is what there is."""
    (tmp_path / "memory.max").write_text(text)
    assert machine_memory((tmp_path / "none", tmp_path / "memory.max")) == expected
