"""Fixtures for every test: real images, and one torch thread per process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images beside the project; a test that needs it skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip("real images are not beside this checkout (../shared/data)")
    return DATA
