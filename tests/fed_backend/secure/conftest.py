"""Makes this folder's helpers importable, and signs the members of one federation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from members import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A federation's authority with five sites."""
    return Authority(["east", "north", "south", "valley", "west"])
