"""Makes the helpers of this folder, of the FLARE tests, of the gossip tests and of the sites importable."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
for folder in (HERE.parent, HERE.parent / "flare", HERE.parent / "gossip", TESTS / "monailabel_app/federation", HERE):
    sys.path.insert(0, str(folder))
