"""A small site on disk whose federated jobs run in the test's own process, as its learner runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from fed_backend.payload import PayloadHeader, Tensors, decode, encode
from fed_backend.plan import ModelSpec, Plan, TrainingSpec, parse_plan
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.learning.tasks import Workbench, run_job
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.corrections import Submission
from monailabel_app.state.site import SiteState

LABELS = {"tumour": 1}
UNET = ModelSpec(image_size=32, channels=(4, 8))
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])
NORMALISATION = "adn.N"


def unet_plan(method: str, settings: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """A plan for the tiny U-Net; two steps of training a round."""
    segmenter = build_segmenter(UNET, LABELS)
    data: dict[str, Any] = {
        "model": UNET.model_dump(),
        "method": {"name": method, "settings": settings or {}},
        "base_sha256": segmenter.base_sha256,
        "adapter": segmenter.adapter_shapes(),
        "labels": LABELS,
        "training": TrainingSpec(steps=2, batch_size=2).model_dump(),
    }
    return parse_plan({**data, **changes})


SAM = ModelSpec(name="sam", base="sam_tiny", image_size=64, lora_blocks=3, lora_rank=2, decoder=False)


def sam_plan(method: str, settings: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """A plan for the embedded SAM on small slices; two steps of training a round."""
    segmenter = build_segmenter(SAM, LABELS)
    data: dict[str, Any] = {
        "model": SAM.model_dump(),
        "method": {"name": method, "settings": settings or {}},
        "base_sha256": segmenter.base_sha256,
        "adapter": segmenter.adapter_shapes(),
        "labels": LABELS,
        "training": TrainingSpec(steps=2, batch_size=2).model_dump(),
    }
    return parse_plan({**data, **changes})


def volume(
    name: str, shape: tuple[int, int, int] = (24, 26, 4)
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A noisy image with a brighter box, and the box; both depend on the name alone."""
    rng = np.random.default_rng(list(name.encode()))
    image = rng.normal(100, 10, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    i, j = rng.integers(4, 14, 2)
    mask[i : i + 7, j : j + 8, 1:3] = 1
    image[mask > 0] += 60
    return image, mask


class SiteOnDisk:
    """A site with corrected cases, and its learner's workbench.

    Args:
        folder: of everything it holds.
        name: of the site.
        plan: that it holds.
        cases: name -> part.
    """

    def __init__(self, folder: Path, name: str, plan: Plan, cases: dict[str, str]) -> None:
        self.name, self.plan = name, plan
        studies = folder / "studies"
        studies.mkdir(parents=True)
        self.state = SiteState(folder / "state", studies)
        self.state.splits.import_split(cases)
        for case in cases:
            image, mask = volume(f"{name}-{case}")
            nib.save(nib.Nifti1Image(image, AFFINE), studies / f"{case}.nii.gz")
            nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"{case}.nii.gz")
            submission = Submission(case, studies / f"{case}.nii.gz", folder / f"{case}.nii.gz", "ann")
            self.state.corrections.submit(submission, LABELS)
        self.bench = self.new_bench()

    def new_bench(self) -> Workbench:
        """A workbench as after a restart of the learner."""
        setup = LearnerSetup(
            site_name=self.name,
            studies=self.state.studies,
            specs={self.plan.model.name: self.plan.model},
            labels=LABELS,
            training=self.plan.training,
            plan=self.plan,
        )
        return Workbench(self.state, setup)

    def job(self, kind: Any, data: bytes = b"", **params: Any) -> dict[str, Any]:
        """Run one job to its end."""
        if data:
            params["request"] = self.state.exchanges.keep(data)
        self.state.jobs.submit(kind, self.plan.model.name, params)
        job = self.state.jobs.claim()
        assert job is not None
        result, message = run_job(self.bench, job)
        self.state.jobs.finish(job.number, result, message)
        return result

    def train(self, data: bytes) -> tuple[PayloadHeader, Tensors]:
        """Answer a ``global`` payload."""
        return decode(self.state.exchanges.read(self.job("federated_train", data)["reply"]))

    def champion(self) -> Tensors:
        """Tensors of the version that serves."""
        store = self.state.versions(self.plan.model.name)
        return store.load(store.champion())

    def version(self, identifier: str) -> Tensors:
        return self.state.versions(self.plan.model.name).load(identifier)

    def allow_anything(self) -> None:
        """Let the gate promote whatever is offered."""
        rule = {"margin": 1.0, "confidence": 0.5, "case_floor": -1.0, "label_floor": -1.0, "surface_limit_mm": 1000.0}
        self.state.settings.set("gate", rule)


def payload(
    plan: Plan, kind: Any, tensors: Tensors | None = None, *, run: str = "run1", round_: int = 0, site: str = "hub"
) -> bytes:
    """What the hub or a peer sends; without tensors, the beginning of a fresh federation."""
    header = PayloadHeader(
        kind=kind,
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site=site,
        federation_round=run,
        round=round_,
        method=plan.method.name,
        metrics={"initial": 1.0} if tensors is None else {},
    )
    return encode(header, tensors or {})
