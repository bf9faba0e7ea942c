"""A site on disk: small volumes with a bright box, their true masks, and the site's state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monailabel_app.state.corrections import Correction, Submission
from monailabel_app.state.site import SiteState

sys.path.insert(0, str(Path(__file__).parent))
from routed import approved, client, courier, site  # noqa: F401 - fixtures

LABELS = {"tumour": 1}
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


@dataclass(frozen=True)
class Images:
    """``studies/<case>.nii.gz`` and ``truth/<case>.nii.gz``, made on demand."""

    studies: Path
    truth: Path

    def add(self, case: str, shape: tuple[int, int, int] = (36, 40, 6)) -> Path:
        """A noisy volume in which the box of its mask is brighter."""
        rng = np.random.default_rng(list(case.encode()))
        image = rng.normal(100, 10, shape)
        mask = np.zeros(shape, np.uint8)
        i, j = rng.integers(10, 22, 2)
        mask[i : i + 9, j : j + 10, 1:5] = 1
        image[mask > 0] += 60
        path = self.studies / f"{case}.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), AFFINE), path)
        nib.save(nib.Nifti1Image(mask, AFFINE), self.truth / f"{case}.nii.gz")
        return path

    def mask(self, name: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
        """Any mask file, to be submitted."""
        path = self.truth / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    def submit(self, state: SiteState, case: str, mask: Path | None = None, author: str = "ann") -> Correction:
        """Submit the true mask of a case, or another one."""
        image = self.studies / f"{case}.nii.gz"
        if not image.is_file():
            self.add(case)
        return state.corrections.submit(Submission(case, image, mask or self.truth / f"{case}.nii.gz", author), LABELS)


def make_images(folder: Path) -> Images:
    images = Images(folder / "studies", folder / "truth")
    images.studies.mkdir()
    images.truth.mkdir()
    return images


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return make_images(tmp_path)


@pytest.fixture
def state(tmp_path: Path, images: Images) -> Iterator[SiteState]:
    with SiteState(tmp_path / "state", images.studies) as opened:
        yield opened


@pytest.fixture(scope="session")
def new_images() -> Callable[[Path], Images]:
    """For fixtures that live longer than a test."""
    return make_images


@pytest.fixture
def snapshot(tmp_path: Path) -> Callable[[], dict[str, object]]:
    """What a site holds: to see that refused input changed nothing."""

    def take() -> dict[str, object]:
        folder = tmp_path / "state"
        files = {
            str(f.relative_to(folder)): f.read_bytes()
            for f in folder.rglob("*")
            if f.is_file() and not f.name.startswith("site.") and f.name != ".lock"
        }
        with SiteState(folder, tmp_path / "studies", own=False) as reader:
            tables = ("splits", "cases", "corrections", "prompts", "jobs", "scores", "exchanges", "rounds")
            rows = {t: [tuple(r) for r in reader.database.rows(f"SELECT * FROM {t}")] for t in tables}
        return {**files, **rows}

    return take
