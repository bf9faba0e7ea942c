"""Makes the helpers of this folder and of the FLARE tests importable, and runs one federation of peers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "flare"))
sys.path.insert(0, str(Path(__file__).parent))

from running_peers import RunningPeers


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPeers]:
    """Three sites with their couriers as real processes over real TLS, and no hub."""
    running = RunningPeers(tmp_path_factory.mktemp("peers"), ["north", "south", "west"])
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()
