"""kill -9 at random moments of training, cross-validating, judging and promoting: nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from monailabel_app.state.site import SiteState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CASES = "abcv"
KILLS = 6

LEARNER = """
import os, sys
from pathlib import Path
from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.learning.setup import LearnerSetup
import monailabel_app.models.unet  # loaded on demand otherwise
from monailabel_app.learning.tasks import Workbench, run_job
from monailabel_app.state.site import SiteState
folder = Path(sys.argv[1])
spec = ModelSpec(image_size=32, channels=(8, 16))
training = TrainingSpec(steps=6, batch_size=2, learning_rate=5e-3)
setup = LearnerSetup(
    site_name="A", studies=folder / "studies", specs={"unet": spec}, labels={"tumour": 1}, training=training
)

def learn():
    state = SiteState(folder / "state", folder / "studies", own=False)
    state.settings.set("gate", {"confidence": 0.5, "margin": 1.0, "case_floor": -1.0, "label_floor": -1.0})
    state.settings.set("keep_last", 2)
    bench = Workbench(state, setup)
    bench.prepare()
    print(os.getpid(), flush=True)
    for seed in range(100_000):
        state.jobs.submit("learn", "unet", {"seed": seed})
        job = state.jobs.claim()
        state.jobs.finish(job.number, *run_job(bench, job))

print("ready", flush=True)
for line in sys.stdin:  # one child per line, so that torch is imported once
    child = os.fork()
    if child == 0:
        try:
            learn()
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


def learn_until_killed(nursery: subprocess.Popen[str], seconds: float) -> None:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write("\n")
    nursery.stdin.flush()
    learner = int(nursery.stdout.readline())
    threading.Event().wait(seconds)
    os.kill(learner, signal.SIGKILL)
    assert nursery.stdout.readline().strip() == "ended"


def check(folder: Path, corrections: list[str]) -> int:
    """Open the site as its server would after the fault; returns the number of versions ever made."""
    with SiteState(folder / "state", folder / "studies") as state:
        assert [c.id for c in state.corrections.list()] == corrections
        assert len(state.corrections.usable(state.corrections.newest("train"))) == 3
        assert [job for job in state.jobs.active() if job.state != "queued"] == []
        store = state.versions("unet")
        champion = store.champion()
        for version in store.list():
            store.load(version.id)
            assert store.state_of(version.id)[0] in ("champion", "accepted", "refused", "candidate")
        assert champion in [version.id for version in store.list()]
        assert not list((folder / "state" / "versions" / "unet").glob(".tmp-*"))
        for job in state.jobs.active():
            state.jobs.cancel(job.number)
        return int(store.list()[-1].id.split("-")[1])


def test_killed_at_random_the_site_stays_whole_and_goes_on_learning(tmp_path: Path, images: Any) -> None:
    with SiteState(tmp_path / "state", images.studies) as state:
        state.splits.import_split({case: "validation" if case == "v" else "train" for case in CASES})
        corrections = [images.submit(state, case).id for case in CASES]
    chooser = random.Random(5)
    made = []
    command = [sys.executable, "-c", LEARNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdout is not None
        assert nursery.stdout.readline().strip() == "ready"
        for _ in range(KILLS):
            learn_until_killed(nursery, chooser.uniform(0.05, 1.5))
            made.append(check(tmp_path, corrections))
    assert made == sorted(made)
