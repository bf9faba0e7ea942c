"""L7: the module in a real 3D Slicer, where SLICER_EXECUTABLE names one; elsewhere it is not run, and says so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "SlicerFedSeg"
SLICER = os.environ.get("SLICER_EXECUTABLE", "")


@pytest.mark.skipif(not SLICER, reason="SLICER_EXECUTABLE names no 3D Slicer: the module was not run in one")
@pytest.mark.timeout(300)
def test_the_module_opens_and_passes_its_self_test_in_slicer() -> None:
    command = [SLICER, "--testing", "--no-splash", "--additional-module-path", str(MODULE)]
    done = subprocess.run(
        [*command, "--python-script", str(MODULE / "Testing" / "smoke.py")], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
