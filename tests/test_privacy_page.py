"""The threat model names a test for each measure; the tests must be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explanation" / "privacy.md").read_text()


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE)
    assert len(named) > 15
    for path, test in named:
        assert re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.M), f"{path} has no {test}"


def test_every_measure_names_one_or_says_that_there_is_none() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| T\d+ ", line)]
    assert len(rows) == 14
    for row in rows:
        assert "tests/" in row[3] or row[4].strip(" |"), row[0]
