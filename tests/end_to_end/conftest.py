"""Fixtures of the end-to-end tests: gateways in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.harness import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Gateway]:
    """A gateway with default settings for all tests that need no other; each sends spans of its own."""
    shared = Gateway(tmp_path_factory.mktemp("gateway"), free_port)
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def make_gateway(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Gateway]]:
    """Makes gateways, not yet started, that are stopped after the test."""
    made: list[Gateway] = []

    def make(**options: Any) -> Gateway:
        directory = tmp_path / f"gateway-{len(made)}"
        directory.mkdir()
        made.append(Gateway(directory, free_port, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()
