"""Small models and small volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fed_backend.plan import ModelSpec
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap, Segmenter
from monailabel_app.models.registry import build_segmenter, default_spec

torch.set_num_threads(1)

LABELS = {"core": 1, "oedema": 4}
SPECS = {
    "unet-2d": ModelSpec(image_size=48, channels=(8, 16, 32)),
    "unet-3d": ModelSpec(image_size=32, channels=(8, 16), spatial_dims=3),
    "sam-tiny": default_spec("sam"),
}


@pytest.fixture(scope="session", params=SPECS)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    """Every kind of model the site has without a download."""
    return SPECS[request.param]


@pytest.fixture(scope="session")
def _built(spec: ModelSpec) -> Segmenter:
    return build_segmenter(spec, LABELS)


@pytest.fixture(scope="session")
def _initial(_built: Segmenter) -> dict[str, np.ndarray]:
    return _built.adapter()


@pytest.fixture
def segmenter(_built: Segmenter, _initial: dict[str, np.ndarray]) -> Segmenter:
    """A model at its initial adapter; built once, put back before every test."""
    _built.load_adapter(_initial)
    return _built


@pytest.fixture
def case() -> tuple[Volume, Labelmap]:
    """Six anisotropic slices with a bright block, half of it brighter, in noise."""
    rng = np.random.default_rng(5)
    labels = np.zeros((40, 44, 6), dtype=np.uint8)
    labels[8:26, 10:30, 1:5] = 1
    labels[8:17, 10:30, 1:5] = 4
    array = 100 + 60 * (labels == 1) + 140 * (labels == 4) + rng.normal(0, 8, labels.shape)
    return Volume(array.astype(np.float32), np.diag([-1.0, -1.0, 4.0, 1.0])), labels
