"""A small sam_tiny, volumes of every geometry, and an engine over a real version store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fed_backend.plan import ModelSpec
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.disk import DiskStore
from monailabel_app.interactive.engine import Engine
from monailabel_app.models.sam import SamSegmenter
from monailabel_app.state.versions import VersionStore

LABELS = {"tumour": 1, "core": 2}
MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def segmenter() -> SamSegmenter:
    """sam_tiny on 64 pixels, the last three blocks adapted."""
    spec = ModelSpec(name="sam", base="sam_tiny", image_size=64, lora_blocks=3)
    return SamSegmenter(spec, LABELS)


def _oblique() -> np.ndarray:
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0.1], [0, 0.0, 1]]) @ np.diag([0.9, 1.1, 3.0])
    affine[:3, 3] = (12.5, -40.25, 7.125)
    return affine


AFFINES = {
    "ras": np.eye(4),
    "lps": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "oblique": _oblique(),
    "thick": np.diag([0.7, 0.7, 5.0, 1.0]),
    "coronal": np.array([[1.0, 0, 0, 0], [0, 0, 4.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]]),
    "flipped": np.array([[0, -2.0, 0, 0], [0, 0, -1.0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]]),
}


def make_volume(name: str) -> Volume:
    """A bright ellipsoid in noise; ``picture`` and ``photo`` are 2D, grey and colour."""
    rng = np.random.default_rng(3)
    if name in ("picture", "photo"):
        shape = (40, 52, 1, 3) if name == "photo" else (40, 52, 1)
        array = rng.integers(0, 90, shape).astype(np.uint8)
        array[10:25, 15:35] += 120
        return Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True)
    i, j, k = np.ogrid[:26, :30, :9]
    inside = ((i - 12) / 7) ** 2 + ((j - 14) / 8) ** 2 + ((k - 4) / 3) ** 2 <= 1
    return Volume((rng.normal(100, 12, (26, 30, 9)) + 120 * inside).astype(np.int16), AFFINES[name])


@pytest.fixture
def build() -> Callable[[str], Volume]:
    """Volumes by the name of their geometry."""
    return make_volume


@pytest.fixture
def make_engine(segmenter: SamSegmenter, tmp_path: Path) -> Iterator[MakeEngine]:
    """Builds engines over one version store and one folder of features; closes them."""
    store = VersionStore(tmp_path / "versions", "sam")
    store.ensure_base(segmenter.adapter(), segmenter.base_sha256)
    made: list[Engine] = []

    def make(**options: object) -> Engine:
        engine = Engine("sam", segmenter, store, DiskStore(tmp_path / "embeddings"), **options)  # type: ignore[arg-type]
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()
