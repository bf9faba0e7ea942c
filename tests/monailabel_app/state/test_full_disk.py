"""A full disk, for real: what cannot be written is said, nothing is lost, and it works again once there is space."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.errors import StateError, Unavailable
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.learner import Learner
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import NewVersion

LABELS = {"tumour": 1}
SPEC = ModelSpec(image_size=32, channels=(8, 16))

LIMITED = """
import resource, shutil, sys
from pathlib import Path
import numpy as np
from monailabel_app.errors import StateError
from monailabel_app.state.corrections import Submission
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import NewVersion

folder, what = Path(sys.argv[1]), sys.argv[2]
LABELS = {"tumour": 1}
TENSORS = {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}

def submit(state):
    state.corrections.submit(
        Submission("a", state.studies / "a.nii.gz", folder / "truth" / "a.nii.gz", "ann"), LABELS
    )

def create(state):
    store = state.versions("unet")
    record = NewVersion(origin="learning", parent=store.champion(), base_sha256="b" * 64)
    return store.create(TENSORS, record).id

def promote(state):
    store = state.versions("unet")
    store.promote(store.list()[-1].id, "better")

def job(state):
    state.jobs.submit("learn", "unet", {"because": "x" * 500})
    number = state.jobs.claim().number
    state.jobs.finish(number, {"version": "v"}, "done")

ACTIONS = {"submit": submit, "create": create, "promote": promote, "job": job}

def facts(state):
    store = state.versions("unet")
    store.load(store.champion())
    files = sorted(p.name for p in (state.folder / "corrections").iterdir())
    assert files == sorted(c.id for c in state.corrections.list()), "no file without its row, no row without its file"
    assert [e["version"] for e in store.history()][-1] == store.champion()
    jobs = [row["state"] for row in state.database.rows("SELECT state FROM jobs")]
    return len(files), store.champion(), len(store.list()), len(store.history()), jobs

refused = done = 0
for limit in [0, 64, *range(100, 700, 20), 1000, *range(2000, 70_000, 6000)]:
    shutil.rmtree(folder / "limited", ignore_errors=True)
    shutil.copytree(folder / "state", folder / "limited")
    with SiteState(folder / "limited", folder / "studies") as state:
        if what == "promote":
            create(state)
        before = facts(state)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            ACTIONS[what](state)
            failed = None
        except StateError as error:
            failed = error
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if failed is None:
            done += 1
            assert facts(state) != before
        else:
            refused += 1
            assert "free disk space" in failed.hint, failed.hint
            assert "too large" in str(failed) or "full" in str(failed) or "I/O" in str(failed), str(failed)
            assert str(folder) not in str(failed)
            if what != "job":
                assert facts(state) == before
            for open_job in state.jobs.active():
                state.jobs.cancel(open_job.number)
            ACTIONS[what](state)
            assert facts(state) != before
print(refused, done)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["submit", "create", "promote", "job"])
def test_wherever_the_disk_ends_it_is_all_or_nothing(tmp_path: Path, images: Any, what: str) -> None:
    """Files may grow to so many bytes only (RLIMIT_FSIZE), for many limits: each stops at another write."""
    pytest.importorskip("resource")
    images.add("a")
    with SiteState(tmp_path / "state", images.studies) as state:
        state.prompts.record_shown("a", "unet", "unet-0000-aaaaaa", np.zeros((36, 40, 6), np.uint8))
        store = state.versions("unet")
        store.ensure_base({"w": np.zeros((64, 64), np.float32)}, "b" * 64)
        record = NewVersion(origin="learning", parent=store.base(), base_sha256="b" * 64)
        store.promote(store.create({"w": np.ones((64, 64), np.float32)}, record).id, "better")
    command = [sys.executable, "-c", LIMITED, str(tmp_path), what]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    refused, done = map(int, ran.stdout.split())
    assert refused > 2
    assert done > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True) if mount else None
    if made is None or made.returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root on Linux)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all space that is left."""
    path = folder / "filler"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return path


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        threading.Event().wait(0.02)
    raise AssertionError(f"not true within {seconds} s")


def ended(state: SiteState, number: int, filler: Path) -> Job:
    """How the job ended: recorded while the disk is full, or as soon as it is not."""
    with suppress(Unavailable):
        return state.jobs.wait(number, 20)
    filler.unlink()
    return state.jobs.wait(number, 60)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_that_fills_while_learning_costs_that_learning_only(
    small_disk: Path, tmp_path: Path, images: Any
) -> None:
    training = TrainingSpec(steps=300, batch_size=4, learning_rate=3e-3)
    setup = LearnerSetup(site_name="A", studies=images.studies, specs={"unet": SPEC}, labels=LABELS, training=training)
    with SiteState(small_disk / "state", images.studies) as state:
        state.splits.import_split({"a": "train", "b": "train", "c": "validation"})
        kept = [images.submit(state, case).id for case in "abc"]
        learner = Learner(state, setup)
        learner.start()
        try:
            job = state.jobs.submit("learn", "unet", {"seed": 1})
            until(lambda: state.jobs.get(job.number).progress > 0)
            champion = state.versions("unet").champion()
            filler = fill(small_disk)
            with pytest.raises(StateError, match=r"No space left|full") as caught:
                images.submit(state, "a")
            assert "free disk space" in caught.value.hint
            failed = ended(state, job.number, filler)
            assert failed.state == "failed", failed.message
            assert "free disk space" in (failed.error or {})["hint"], failed.message
            filler.unlink(missing_ok=True)
            store = state.versions("unet")
            assert store.champion() == champion
            store.load(champion)
            assert [c.id for c in state.corrections.list()] == kept
            again = state.jobs.wait(state.jobs.submit("learn", "unet", {"seed": 1, "steps": 5}).number, 120)
            assert again.state == "done", again.message
            images.submit(state, "a")
        finally:
            learner.stop()
