"""Makes the sample volumes: heads of nothing but arithmetic, with lesions, the same bytes on every computer.

``python SlicerFedSeg/Testing/sample_data.py FOLDER`` writes the files of the release that FedSegLib/samples.py names.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (80, 96, 48)
_MIDDLE = (40, 48, 24)
_LESIONS = {1: ((52, 58, 26), 7), 2: ((28, 60, 20), 9)}


def _noise(number: int) -> Any:
    """Whole numbers 0..31 for every voxel, from an integer hash: no library's generator is involved."""
    place = np.arange(SHAPE[0] * SHAPE[1] * SHAPE[2], dtype=np.uint64) + np.uint64(number * 1_000_003)
    mixed = (place * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    mixed ^= mixed >> np.uint64(15)
    mixed = (mixed * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    return ((mixed >> np.uint64(13)) & np.uint64(31)).astype(np.int64).reshape(SHAPE)


def sample(number: int) -> Any:
    """Voxels [i, j, k] of a sample, whole numbers."""
    i, j, k = np.indices(SHAPE)
    a, b, c = _MIDDLE
    inside = (i - a) ** 2 * 46**2 * 22**2 + (j - b) ** 2 * 38**2 * 22**2 + (k - c) ** 2 * 38**2 * 46**2
    head = inside < 38**2 * 46**2 * 22**2
    (x, y, z), radius = _LESIONS[number]
    lesion = (i - x) ** 2 + (j - y) ** 2 + 4 * (k - z) ** 2 < radius**2
    values = head * (200 + j + _noise(number)) + (head & lesion) * 160
    return values.astype(np.int16)


def sample_file(number: int) -> bytes:
    """The file: uncompressed NRRD, because compressors differ."""
    from FedSegLib.grid import Grid
    from FedSegLib.voxels import Voxels, image_file

    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = (40.0, 48.0, -48.0)
    return image_file(Voxels(np.ascontiguousarray(sample(number).transpose(2, 1, 0)), Grid(SHAPE, affine)))


def main() -> None:
    """Write all of them."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number in _LESIONS:
        (folder / f"fedseg-lesion-{number}.nrrd").write_bytes(sample_file(number))


if __name__ == "__main__":
    main()
