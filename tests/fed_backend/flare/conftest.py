"""Makes this folder's helpers importable, and runs one federation for the slow tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from running import RunningFederation


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFederation]:
    """A hub and three sites with their couriers as real processes over real TLS."""
    running = RunningFederation(tmp_path_factory.mktemp("federation"), ["north", "south", "west"])
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()
