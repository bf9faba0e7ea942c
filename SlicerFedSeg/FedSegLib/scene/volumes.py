"""Image and mask files as volumes of the scene, and where their voxels lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..errors import CaseGone, FedSegError, ImageUnreadable, LabelMismatch
from ..grid import Array, Grid

_SINGLE_FILE = 4  # vtkSlicerVolumesLogic: do not collect files with similar names into a series


def load_volume(path: Path, name: str) -> Any:
    if not path.is_file() or path.stat().st_size == 0:
        raise ImageUnreadable(f"The image of '{name}' is empty.", "Tell the person who runs the site.")
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, _SINGLE_FILE)
    if volume is None or volume.GetImageData() is None:
        raise ImageUnreadable(
            f"Slicer cannot read the image of '{name}' ({''.join(path.suffixes)}) as a volume.",
            "Slicer's log says why. Tell the person who runs the site.",
        )
    storage = volume.GetStorageNode()
    if storage is not None:  # it points at a temporary file that will be gone
        volume.SetAndObserveStorageNodeID(None)
        slicer.mrmlScene.RemoveNode(storage)
    return volume


def find_node(node_id: str, what: str) -> Any:
    node = slicer.mrmlScene.GetNodeByID(node_id)
    if node is None:
        raise CaseGone(f"{what} left the scene.", "Open the case again.")
    return node


def as_array(matrix: Any) -> Array:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def ijk_to_ras(volume: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def volume_grid(volume: Any) -> Grid:
    i, j, k = volume.GetImageData().GetDimensions()
    return Grid((i, j, k), as_array(ijk_to_ras(volume)))


def shape_kji(volume: Any) -> tuple[int, int, int]:
    i, j, k = volume.GetImageData().GetDimensions()
    return k, j, i


def read_labels(path: Path) -> tuple[Array, Grid]:
    """Whole-number voxels [k, j, i] of a mask file, and where they lie."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetSingleFile(1)
    storage.SetFileName(str(path))
    if not storage.ReadData(node) or node.GetImageData() is None:
        raise ImageUnreadable("The site's mask cannot be read.", "Try again, or choose another model.")
    labels = slicer.util.arrayFromVolume(node)
    if labels.ndim != 3:
        raise ImageUnreadable(f"The site's mask has {labels.ndim} dimensions instead of 3.", "Choose another model.")
    whole = labels.astype(np.int32)
    if not np.array_equal(whole, labels):
        raise LabelMismatch("The site's mask holds fractions instead of label values.", "Choose another model.")
    return whole, volume_grid(node)


def write_labels(labels: Array, volume: Any, path: Path) -> None:
    node = slicer.vtkMRMLLabelMapVolumeNode()
    slicer.util.updateVolumeFromArray(node, labels)
    node.SetIJKToRASMatrix(ijk_to_ras(volume))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(1)
    storage.SetCompressionParameter("gzip_fastest")
    if not storage.WriteData(node):
        raise FedSegError("The mask could not be written for sending.", "Is the disk of this computer full?")
