"""NRRD through pynrrd, which keeps sheared directions that ITK refuses."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import numpy.typing as npt

from monailabel_app.errors import ImageError
from monailabel_app.imaging.volume import Array, Volume

__all__ = ["SUFFIXES", "encode_mask", "read"]

SUFFIXES = (".nrrd",)
MAX_VOXELS = 2**30
_TO_RAS = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
}


def read(path: Path) -> Volume:
    """Read an attached NRRD file; a header that points to another file is refused."""
    with path.open("rb") as file:
        header = nrrd.read_header(file)
        if any(key in header for key in ("data file", "datafile")):
            raise ImageError(
                f"{path.name} keeps its voxels in another file", "save it as one .nrrd file with attached data"
            )
        sizes = [int(n) for n in header["sizes"]]
        if int(np.prod(sizes, dtype=np.int64)) > 3 * MAX_VOXELS:
            raise ImageError(f"{path.name} announces {sizes} voxels, more than can be loaded")
        array = nrrd.read_data(header, file, str(path))
    array, directions = _spatial(path.name, array, header)
    space = str(header.get("space", "left-posterior-superior")).lower()
    if space not in _TO_RAS:
        raise ImageError(f"{path.name} lies in space {space!r}", "save it in left-posterior-superior or RAS space")
    affine = np.eye(4)
    affine[:3, : directions.shape[0]] = directions.T
    origin = np.asarray(header.get("space origin", (0, 0, 0)), dtype=np.float64)
    affine[: origin.size, 3] = origin
    affine[:3] *= np.asarray(_TO_RAS[space], dtype=np.float64)[:, None]
    return Volume(array, affine, is_2d=array.shape[2] == 1)


def _spatial(name: str, array: Array, header: Mapping[str, Any]) -> tuple[Array, npt.NDArray[np.float64]]:
    """Voxels as [i, j, k(, 3)] and one direction per spatial axis (pynrrd gives a row of NaN else)."""
    rows = header.get("space directions")
    if rows is None:
        directions = np.diag(np.asarray(header.get("spacings", np.ones(array.ndim)), dtype=np.float64))
        directions = np.nan_to_num(directions, nan=1.0)[:, :3]
        spatial = np.ones(array.ndim, dtype=bool)
    else:
        directions = np.asarray([np.full(3, np.nan) if row is None else row for row in rows], dtype=np.float64)
        spatial = ~np.isnan(directions).any(axis=1)
        directions = directions[spatial]
    parts = array.shape[0] if array.ndim == 4 and spatial.sum() == 3 and not spatial[0] else 0
    if parts == 1:
        array = array[0]
    elif parts in (3, 4) and array.dtype == np.uint8:
        array = np.moveaxis(array[:3], 0, -1)
    elif array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim != 3 or not spatial.all():
        raise ImageError(
            f"{name} has axes of {array.shape} elements: a volume has three",
            "export one component; a segmentation with overlapping segments must be saved as one label map",
        )
    if directions.shape[1] == 2:
        directions = np.pad(directions, ((0, 0), (0, 1)))
    return array, directions


def encode_mask(mask: Array, like: Volume, label_names: Mapping[str, int]) -> bytes:
    """A mask [i, j, k] uint8 as NRRD bytes; names become the segments that 3D Slicer shows."""
    lps = np.diag((-1.0, -1.0, 1.0)) @ like.affine[:3]
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "space directions": lps[:, :3].T,
        "space origin": lps[:, 3],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }
    for number, (name, value) in enumerate(sorted(label_names.items(), key=lambda item: item[1])):
        header |= {
            f"Segment{number}_ID": f"Segment_{value}",
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(value),
            f"Segment{number}_Layer": "0",
            f"Segment{number}_Extent": " ".join(f"0 {n - 1}" for n in like.shape),
        }
    buffer = io.BytesIO()
    nrrd.write(buffer, mask, header, compression_level=6)
    return buffer.getvalue()
