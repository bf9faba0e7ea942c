"""Small multi-site MR-like volumes, so that the demonstration works offline.

Each site has a scanner of its own: contrast, gain, noise, bias field, spacing, array orientation.
:func:`make_case` is a pure function of (site, index, seed); :func:`write_dataset` writes
``DIR/<site>/images``, ``DIR/<site>/labels`` and ``DIR/split.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from fed_backend.demo.anatomy import Contrast, Grid, draw_head, smooth_field
from fed_backend.demo.dataset import part_sizes
from fed_backend.demo.errors import DatasetError

__all__ = ["SCANNERS", "GeneratedCase", "Scanner", "make_case", "parts", "site_grid", "write_dataset"]


@dataclass(frozen=True)
class Scanner:
    """How one site's images look and how they are stored.

    Attributes:
        name: the site.
        contrast: tissue intensities.
        gain: stored value of intensity 1.
        noise: standard deviation of the complex noise, relative to intensity 1 (the magnitude is Rician).
        bias: strength of the receive field, relative.
        codes: direction of each array axis, such as ``RAS`` or ``LPS``.
        tilt: rotation about x and about z, degrees; not zero makes the volume oblique.
        size: voxels along (x, y, z) before storage order.
        spacing: millimetres along (x, y, z).
    """

    name: str
    contrast: Contrast
    gain: float
    noise: float
    bias: float
    codes: str
    tilt: tuple[float, float]
    size: tuple[int, int, int] = (96, 96, 16)
    spacing: tuple[float, float, float] = (2.0, 2.0, 7.0)


SCANNERS: tuple[Scanner, ...] = (
    Scanner(
        "north",
        Contrast(scalp=0.80, skull=0.10, csf=0.16, white=0.42, grey=0.54, cap=0.66, lesion=0.72),
        gain=900.0, noise=0.035, bias=0.14, codes="RAS", tilt=(0.0, 0.0), spacing=(2.0, 2.0, 7.0),
    ),
    Scanner(
        "coast",
        Contrast(scalp=0.95, skull=0.16, csf=0.24, white=0.50, grey=0.60, cap=0.72, lesion=0.76),
        gain=260.0, noise=0.050, bias=0.20, codes="LPS", tilt=(0.0, 0.0), spacing=(1.9, 1.9, 6.5),
    ),
    Scanner(
        "valley",
        Contrast(scalp=0.62, skull=0.08, csf=0.30, white=0.36, grey=0.52, cap=0.60, lesion=0.74),
        gain=3000.0, noise=0.040, bias=0.20, codes="LAS", tilt=(11.0, 6.0), spacing=(2.05, 2.0, 7.5),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class GeneratedCase:
    """One volume in its storage order.

    Attributes:
        name: case name, unique over all sites.
        image: int16 [i, j, k].
        label: uint8 [i, j, k], 1 is lesion.
        affine: 4x4, voxel to RAS millimetres.
    """

    name: str
    image: npt.NDArray[np.int16]
    label: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]


def _rotation(tilt: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Rotation about x, then about z (degrees)."""
    (cx, sx), (cz, sz) = ((np.cos(a), np.sin(a)) for a in np.radians(tilt))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x)


def site_grid(scanner: Scanner) -> Grid:
    """Voxel grid of a scanner, centred a little above the middle of the head."""
    directions = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    linear = np.zeros((3, 3))
    shape = [0, 0, 0]
    for column, code in enumerate(scanner.codes):
        axis, sign = directions[code]
        linear[axis, column] = sign * scanner.spacing[axis]
        shape[column] = scanner.size[axis]
    affine = np.eye(4)
    affine[:3, :3] = _rotation(scanner.tilt) @ linear
    affine[:3, 3] = np.array([0.0, 0.0, 8.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def make_case(scanner: Scanner, index: int, seed: int) -> GeneratedCase:
    """One case of a site; equal arguments give equal bytes.

    Args:
        scanner: the site.
        index: number of the patient, from 0.
        seed: seed of the whole data set.
    """
    rng = np.random.default_rng([seed, index, *scanner.name.encode()])
    grid = site_grid(scanner)
    signal, label = draw_head(grid, scanner.contrast, rng)
    bias = np.exp(scanner.bias * smooth_field(grid, rng, 260.0, waves=6))
    noise = rng.normal(scale=scanner.noise, size=(2, *grid.shape))
    magnitude = np.hypot(signal * bias + noise[0], noise[1])
    stored = np.rint(magnitude * scanner.gain * rng.uniform(0.85, 1.15)).astype(np.int16)
    return GeneratedCase(f"{scanner.name}-{index:02d}", stored, label, grid.affine)


def parts(cases: int) -> list[str]:
    """Part of each of ``cases`` patients, training first, by :func:`.dataset.part_sizes`.

    Raises:
        DatasetError: fewer than three cases.
    """
    if cases < 3:
        raise DatasetError(
            f"{cases} cases a site are too few to split", "use at least 3: one to train, to validate, to test"
        )
    validation, test = part_sizes(cases)
    return ["train"] * (cases - test - validation) + ["val"] * validation + ["test"] * test


def write_dataset(
    folder: Path,
    *,
    seed: int,
    scanners: Sequence[Scanner] = SCANNERS,
    cases: int = 12,
    progress: Callable[[str, int, int], None] = lambda site, done, total: None,
) -> None:
    """Write every site's volumes and ``split.csv`` below ``folder``.

    Args:
        folder: created if absent; files of the same name are replaced.
        seed: seed of the data set.
        scanners: the sites.
        cases: patients per site.
        progress: called with (site, cases written, cases in all).
    """
    rows = []
    for scanner in scanners:
        for kind in ("images", "labels"):
            (folder / scanner.name / kind).mkdir(parents=True, exist_ok=True)
        for index, part in enumerate(parts(cases)):
            case = make_case(scanner, index, seed)
            _write(case, folder / scanner.name)
            rows.append((scanner.name, case.name, part))
            progress(scanner.name, index + 1, cases)
    with (folder / "split.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("site", "case", "part"))
        writer.writerows(rows)


def _write(case: GeneratedCase, folder: Path) -> None:
    for kind, array in (("images", case.image), ("labels", case.label)):
        image = nib.Nifti1Image(array, case.affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / kind / f"{case.name}.nii.gz")
