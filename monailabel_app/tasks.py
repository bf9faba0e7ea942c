"""What MONAI Label calls tasks, each a thin view of the running site."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.train import TrainTask

from monailabel_app.imaging.files import write_mask
from monailabel_app.learning.learner import request_learning

if TYPE_CHECKING:
    from monailabel_app.app_context import Site

__all__ = ["LearnTask", "SegmentTask"]

_DESCRIPTIONS = {
    "unet": "U-Net of this site: automatic, adapted to its corrections",
    "sam": "Segment Anything with this site's adapter: automatic, and points and boxes on a slice",
}


class SegmentTask(InferTask):  # type: ignore[misc]
    """Automatic segmentation by the champion of one model.

    Args:
        site: the running site.
        model: a model it serves.
    """

    def __init__(self, site: Site, model: str) -> None:
        super().__init__(
            type=InferType.SEGMENTATION.value,
            labels=dict(sorted(site.labels.items(), key=lambda item: item[1])),
            dimension=site.context.specs[model].spatial_dims,
            description=_DESCRIPTIONS.get(model, model),
        )
        self._site = site
        self._model = model

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment the file ``request["image"]``; returns a temporary mask file and its parameters."""
        done = self._site.inference.infer(self._model, Path(request["image"]))
        with tempfile.NamedTemporaryFile(suffix=".nii.gz", prefix="mask-", delete=False) as file:
            path = Path(file.name)
        write_mask(done.labelmap, done.volume, path, self._site.labels)
        return str(path), {"label_names": dict(self.labels), "model": self._model, "version": done.version}


class LearnTask(TrainTask):  # type: ignore[misc]
    """Stock training: the site's learner, which gates what it makes."""

    def __init__(self, site: Site, model: str) -> None:
        super().__init__(f"Fine-tune {model} on this site's corrections; a better version is promoted")
        self._site = site
        self._model = model

    def config(self) -> dict[str, Any]:
        return {"steps": self._site.context.training.steps}

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Queue a learning job; returns at once."""
        steps, seed = request.get("steps"), request.get("seed")
        return {"id": request_learning(self._site.context, self._model, steps, seed, "local").id}
