"""The Slicer panel, in its own environment, at one of three real sites: from the first case to a federated round."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fed_backend.demo.client import SiteClient
from fed_backend.demo.dataset import LABELS, SiteData, read_dataset
from fed_backend.demo.generator import SCANNERS, write_dataset
from fed_backend.demo.processes import ProcessGroup
from fed_backend.demo.services import RunningSite, environment, provision, start_all

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-slicer" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-slicer: run `make environment-slicer` first"),
]


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[tuple[list[RunningSite], list[SiteData]]]:
    """Hub, three sites and their couriers; all sites but the first have corrected two cases and agreed to the plan."""
    from fed_backend.plan import save_plan
    from monailabel_app.planning import build_plan

    write_dataset(tmp_path / "data", seed=0, scanners=SCANNERS[:3], cases=3)
    data = read_dataset(tmp_path / "data", seed=0)
    plain = {"method": "fedavg", "quorum": 3, "round_deadline": 200.0, "starters": (), "gate_margin": 0.01, "seed": 0}
    made = build_plan(
        **plain,
        model="unet",
        labels=LABELS,
        name="loopback",
        checkpoint=None,
        rounds=1,
        steps=8,
        image_size=64,
        batch_size=4,
    )
    save_plan(made, tmp_path / "plan.json")
    with ProcessGroup(tmp_path, environment()) as group:
        kits = provision(group, tmp_path, tmp_path / "plan.json", [site.name for site in data])
        running = start_all(group, tmp_path, tmp_path / "plan.json", kits, data, "unet", lambda site, what: None)
        for where, site in list(zip(running, data, strict=True))[1:]:
            client = SiteClient(where.name, where.url)
            client.approve_plan()
            for case in site.part("train", "val"):
                client.submit(case.name, case.label, {"label_info": [{"name": "tumour", "idx": 1}]})
        yield running, data


def test_the_panel_takes_part_in_a_round(federation: tuple[list[RunningSite], list[SiteData]], tmp_path: Path) -> None:
    (where, *others), (site, *_) = federation
    cases = site.part("train", "val")
    told = {
        "FEDSEG_FEDERATION_URL": where.url,
        "FEDSEG_TRUTH": str(cases[0].label.parent),
        "FEDSEG_CASES": ",".join(case.name for case in cases),
        "QT_QPA_PLATFORM": "offscreen",
    }
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", "-q", "--show-capture=no", "tests/slicer/test_federation.py"],
        cwd=ROOT,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 passed" in done.stdout
    for other in others:
        versions = requests.get(f"{other.url}/versions", timeout=30).json()["versions"]
        assert any(version["origin"] == "federation" for version in versions), f"{other.name} took part"
