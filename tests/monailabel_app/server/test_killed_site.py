"""A real site whose learner or server is killed with SIGKILL at random moments of learning: nothing is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import pytest
import requests

from monailabel_app.learning.setup import LearnerSetup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SEED = 11
LEARNER_KILLS, SERVER_KILLS = 4, 2
GATE = {"confidence": 0.5, "margin": 1.0, "case_floor": -1.0, "label_floor": -1.0, "surface_limit_mm": 1000}
"""Whatever was learned is promoted, so that promotions are interrupted, too."""

Until = Callable[..., Any]
PATIENCE_S = 400.0
"""The learner imports torch again after every kill, and gives way to everything else on a busy machine."""


def learning(site: Any) -> dict[str, Any]:
    found: dict[str, Any] = site.get("/learning").json()
    return found


def begin(site: Any, until: Until) -> list[psutil.Process]:
    """Ask for a short learning, so that judging and promoting are met as often as training; the learner at work."""
    reply = requests.post(f"{site.url}/learning", json={"model": "unet", "steps": 3, "seed": 1}, timeout=60)
    assert reply.status_code == 202, reply.text
    job = reply.json()["job"]
    until(lambda: (now := learning(site))["job"] == job and now["state"] != "queued", PATIENCE_S)
    return list(psutil.Process(site.process.pid).children())


def end(site: Any, until: Until) -> dict[str, Any]:
    """How the last learning ended."""
    found: dict[str, Any] = until(lambda: (now := learning(site))["state"] in ("done", "failed") and now, PATIENCE_S)
    return found


def check(site: Any, corrections: Any) -> None:
    """What a client sees after a fault: all corrections, whole versions, a champion that serves."""
    assert site.get("/corrections").json()["corrections"] == corrections
    versions = site.get("/versions").json()
    listed = {version["id"] for version in versions["versions"]}
    champion = versions["champion"]["unet"]
    assert champion in listed
    for version in listed:
        assert site.get(f"/versions/{version}/report").status_code == 200
    assert site.get(f"/versions/{champion}/report").json()["served"]
    assert site.infer("ras").status_code == 200


@pytest.fixture
def corrected(fresh_site: Any, tmp_path: Path) -> Any:
    """The site with all its cases corrected."""
    for case in ("ras", "lps", "thick"):
        image = nib.load(fresh_site.studies / f"{case}.nii.gz")
        mask = np.zeros(image.shape, np.uint8)
        mask[6:14, 8:18, 2:6] = 1
        nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "mask.nii.gz")
        assert fresh_site.save(case, tmp_path / "mask.nii.gz").status_code == 200
    assert requests.put(f"{fresh_site.url}/learning/gate", json=GATE, timeout=60).status_code == 200
    return fresh_site


def test_a_site_killed_while_it_learns_comes_back_whole(
    corrected: Any, restart: Callable[[Any], Any], until: Until
) -> None:
    site, chance, moment = corrected, random.Random(SEED), threading.Event()
    corrections = site.get("/corrections").json()["corrections"]
    for _ in range(LEARNER_KILLS):
        learners = begin(site, until)
        moment.wait(chance.uniform(0, 1.5))
        for learner in learners:
            learner.kill()
        ended = end(site, until)
        assert ended["state"] == "done" or "was killed while" in ended["message"], ended["message"]
        check(site, corrections)
    for _ in range(SERVER_KILLS):
        learners = begin(site, until)
        moment.wait(chance.uniform(0, 1.5))
        site.process.kill()
        site.process.wait(10)
        _, alive = psutil.wait_procs(learners, timeout=10)
        assert not alive, "the learner must not outlive its site"
        site = restart(site)
        ended = end(site, until)
        assert ended["state"] == "done" or "the site was stopped while" in ended["message"], ended["message"]
        check(site, corrections)
    begin(site, until)
    assert end(site, until)["state"] == "done"
    check(site, corrections)


def test_a_second_learner_on_a_site_gives_up(corrected: Any, until: Until) -> None:
    begin(corrected, until)
    setup = LearnerSetup(site_name="x", studies=corrected.studies, specs={}, labels={"tumour": 1})
    command = [sys.executable, "-m", "monailabel_app.learning.worker", "--state", str(corrected.state)]
    with subprocess.Popen(
        [*command, "--parent", str(os.getpid())], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as second:
        assert second.stdin is not None
        assert second.stderr is not None
        second.stdin.write(setup.model_dump_json() + "\n")
        second.stdin.flush()
        assert second.wait(90) == 3
        assert "another learner works on this site" in second.stderr.read()
    assert end(corrected, until)["state"] == "done"
