"""A version can be made again from its record alone, in another process, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.learning.tasks import Workbench, run_job
from monailabel_app.models.base import Prompts
from monailabel_app.models.registry import default_spec
from monailabel_app.state.site import SiteState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LABELS = {"tumour": 1}
MODELS = {
    "unet": (ModelSpec(image_size=32, channels=(8, 16)), TrainingSpec(steps=20, batch_size=4, learning_rate=3e-3)),
    "sam": (default_spec("sam"), TrainingSpec(steps=2, batch_size=1)),
}


def learn(state: SiteState, model: str) -> str:
    spec, training = MODELS[model]
    setup = LearnerSetup(
        site_name="A", studies=state.studies, specs={model: spec}, labels=LABELS, training=training, threads=1
    )
    state.jobs.submit("learn", model, {"seed": 4})
    job = state.jobs.claim()
    assert job is not None
    result, _ = run_job(Workbench(state, setup), job)
    return str(result["version"])


def prompt_on(images: Any, case: str) -> Prompts:
    """A click in the middle of the true mask of a case."""
    places = np.argwhere(nib.load(images.truth / f"{case}.nii.gz").get_fdata() > 0)
    i, j, k = (int(n) for n in np.median(places, axis=0))
    return Prompts("tumour", [(i, j, k)])


def retrain(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monailabel_app", "site", "retrain", version]
    command += ["--state", str(folder / "state"), "--studies", str(folder / "studies")]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})


@pytest.mark.parametrize("model", MODELS)
def test_the_record_alone_makes_the_same_version(tmp_path: Path, images: Any, model: str) -> None:
    with SiteState(tmp_path / "state", images.studies) as state:
        state.splits.import_split({"a": "train", "b": "train", "u": "train", "v": "validation"})
        for case in "abuv":
            images.add(case)
        state.prompts.record_prompts("a", "sam", "v", [prompt_on(images, "a")])
        for case in "abv":
            images.submit(state, case)
        first = learn(state, model)
        store = state.versions(model)
        store.promote(first, "by hand")
        second = learn(state, model)
        rehearsed = store.get(second).settings["rehearsal"]
        assert len(rehearsed["images"]) == 1
        assert store.get(second).parent == first
        named = [data.prompts_sha256 for data in store.get(second).data]
        assert [bool(digest) for digest in named] == [model == "sam", False], "SAM's record names the clicks on a"
        state.prompts.record_prompts("a", "sam", "v", [prompt_on(images, "b")])
        images.submit(state, "a", images.truth / "b.nii.gz")  # what came later changes nothing
        before = [version.id for version in store.list()]
        same = retrain(tmp_path, second)
        assert same.returncode == 0, same.stdout + same.stderr
        assert f"made again from its record, byte for byte (SHA-256 {store.get(second).sha256})" in same.stdout
        assert [version.id for version in store.list()] == before


def test_clicks_that_are_no_longer_those_of_the_record_are_told(tmp_path: Path, images: Any) -> None:
    with SiteState(tmp_path / "state", images.studies) as state:
        state.splits.import_split({"a": "train", "v": "validation"})
        images.add("a")
        state.prompts.record_prompts("a", "sam", "v", [prompt_on(images, "a")])
        for case in "av":
            images.submit(state, case)
        version = learn(state, "sam")
        (data,) = state.versions("sam").get(version).data
        state.prompts.record_prompts("a", "sam", "v", [Prompts("tumour", [(1, 1, 1)])])
        state.prompts.claim("a", data.correction)
    other = retrain(tmp_path, version)
    assert other.returncode == 2, other.stdout + other.stderr
    assert f"the prompts of correction {data.correction} are not those" in other.stderr


def test_a_record_that_was_changed_or_lacks_its_data_is_told(tmp_path: Path, images: Any) -> None:
    with SiteState(tmp_path / "state", images.studies) as state:
        state.splits.import_split({"a": "train", "v": "validation"})
        for case in "av":
            images.submit(state, case)
        version = learn(state, "unet")
        base = retrain(tmp_path, state.versions("unet").base())
        assert base.returncode == 2
        assert "does not hold model and labels" in base.stderr
        path = tmp_path / "state" / "versions" / "unet" / version / "version.json"
        record = path.read_text()
        path.write_text(record.replace('"seed": 4', '"seed": 5'))
        other = retrain(tmp_path, version)
        assert other.returncode == 1, other.stderr
        assert "program, torch and processor are as they were" in other.stdout
        path.write_text(record)
        images.add("a", (36, 40, 7))
        gone = retrain(tmp_path, version)
        assert gone.returncode == 2
        assert "has changed since it was corrected" in gone.stderr
        assert "Traceback" not in gone.stderr
