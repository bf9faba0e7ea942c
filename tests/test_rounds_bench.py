"""``make bench-rounds`` runs: the smallest cell of each part, with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("overhead", ["overhead_ms", "bare_flare_ms", "overhead_ratio", "start_seconds", "hub_rss_mb"]),
        ("memory", ["hub_rss_mb"]),
        ("wire", ["wire_ratio"]),
        ("gossip", ["exchange_ms", "plain_put_ms"]),
        ("secure", ["secure_ms", "plain_ms"]),
        ("cost", ["site_ms", "check_ms", "average_ms_per_site"]),
    ],
)
def test_the_smallest_cell_of_a_part_gives_its_figures(tmp_path: Path, part: str, keys: list[str]) -> None:
    command = [sys.executable, "-m", "bench.rounds", "--smallest", "--parts", part, "--out", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
    assert "stands in rounds.json" in done.stdout, "what is done is not done again"
    found = json.loads((tmp_path / "rounds.json").read_text())
    for key in keys:
        ((value,),) = (row.values() for row in found[key].values())
        assert value > 0, key
    assert f"| {next(iter(found[keys[0]]))} MB |" in (tmp_path / "rounds.md").read_text()


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.rounds", "--parts", "gossip,tea", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no part tea" in done.stderr
