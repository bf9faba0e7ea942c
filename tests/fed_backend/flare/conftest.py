"""Makes this folder's helpers importable, and runs one federation for the slow tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from in_process import NAMES, PLAN, Federation, Site
from running import OTHERS, RunningFederation


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFederation]:
    """A hub and three sites with their couriers as real processes over real TLS."""
    running = RunningFederation(tmp_path_factory.mktemp("federation"), ["north", "south", "west"], alternatives=OTHERS)
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Federation]:
    """Builds federations in one thread; three sites of 1, 2 and 3 cases unless told otherwise."""

    def build(
        *sites: Site, name: str = "hub", plan: Any = PLAN, start: bytes | None = None, root: Any = None, **timing: Any
    ) -> Federation:
        members = list(sites) or [Site(n, plan, examples=i + 1) for i, n in enumerate(NAMES)]
        return Federation(tmp_path / name, members, plan, start, root, **timing)

    return build
