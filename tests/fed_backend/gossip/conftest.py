"""Makes the helpers of this folder and of the FLARE tests importable; kits, and one federation of peers that runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "flare"))
sys.path.insert(0, str(Path(__file__).parent))

from line import make_kits
from running_peers import RunningPeers

from fed_backend.flare.kit import Kit


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kit]:
    """Members of one federation, and ``stranger`` of another."""
    folder = tmp_path_factory.mktemp("kits")
    members = make_kits(folder / "ours", "north", "south", "South_2", "west")
    return {**members, "stranger": make_kits(folder / "other", "north")["north"]}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPeers]:
    """Three sites with their couriers as real processes over real TLS, and no hub."""
    running = RunningPeers(tmp_path_factory.mktemp("peers"), ["north", "south", "west"])
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()
