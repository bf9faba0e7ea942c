"""The Slicer panel, in its own environment, against a real site: connect, next case, segment, submit, learn."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-slicer" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-slicer: run `make environment-slicer` first")
def test_the_panel_works_with_a_real_site(fresh_site: Any) -> None:
    environment = {**os.environ, "FEDSEG_SITE_URL": fresh_site.url, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", "-q", "tests/slicer/test_site.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
    corrections = requests.get(f"{fresh_site.url}/corrections", timeout=30).json()["corrections"]
    assert corrections, "what the panel submitted is stored at the site"
    assert all(entry["version_shown"] for entry in corrections)
