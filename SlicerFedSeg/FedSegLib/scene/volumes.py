"""Image and mask files as volumes of the scene, and where their voxels lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..errors import CaseGone, FedSegError, ImageUnreadable, LabelMismatch
from ..grid import Array, Grid
from ..language import tr as _
from ..voxels import Voxels

if TYPE_CHECKING:
    from ..decoding import Image

_SINGLE_FILE = 4  # vtkSlicerVolumesLogic: do not collect files with similar names into a series


_PICTURES = {".png": "vtkPNGReader", ".jpg": "vtkJPEGReader", ".jpeg": "vtkJPEGReader", ".bmp": "vtkBMPReader"}


def load_volume(path: Path, name: str) -> Any:
    """Load an image file as a volume node without a storage node (the file is temporary).

    Raises:
        ImageUnreadable: Slicer finds no volume in it; the scene is as it was.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise ImageUnreadable(
            _("The image of '{name}' is empty.").format(name=name), _("Tell the person who runs the site.")
        )
    if path.suffix.lower() in _PICTURES:
        volume = _load_picture(path, name)
    else:
        volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, _SINGLE_FILE)
    if volume is None or volume.GetImageData() is None:
        raise ImageUnreadable(
            _("Slicer cannot read the image of '{name}' ({kind}) as a volume.").format(
                name=name, kind="".join(path.suffixes)
            ),
            _("Slicer's log says why. Tell the person who runs the site."),
        )
    storage = volume.GetStorageNode()
    if storage is not None:
        volume.SetAndObserveStorageNodeID(None)
        slicer.mrmlScene.RemoveNode(storage)
    return volume


def make_volume(image: Image, name: str) -> Any:
    """A volume node of voxels that are in memory; they are used as they are, not copied."""
    from vtk.util import numpy_support

    data = vtk.vtkImageData()
    data.SetDimensions(*image.voxels.grid.shape)
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(image.voxels.array.reshape(-1)))
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)  # it would look at every voxel
    display.SetWindowLevelMinMax(*image.window)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(image.voxels.grid.affine.ravel())
    volume.SetIJKToRASMatrix(matrix)
    volume.SetAndObserveImageData(data)
    return volume


def _load_picture(path: Path, name: str) -> Any:
    """A 2D picture: 1 mm pixels whatever its file says (sites take masks of either), columns to the left, rows to the
    back, transparency dropped, grey stored as colour grey."""
    reader = getattr(vtk, _PICTURES[path.suffix.lower()])()
    if not reader.CanReadFile(str(path)):
        return None
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    columns, rows, _ = image.GetDimensions()
    scalars = image.GetPointData().GetScalars()
    if scalars is None or reader.GetErrorCode():
        return None
    from vtk.util import numpy_support  # a plain import of vtk does not bring it

    pixels = numpy_support.vtk_to_numpy(scalars).reshape(rows, columns, -1)[::-1]  # VTK counts rows from below
    grey = pixels.shape[2] < 3 or bool((pixels[:, :, :3] == pixels[:, :, :1]).all())
    channels = 1 if grey else 3
    kind = "vtkMRMLVectorVolumeNode" if channels == 3 else "vtkMRMLScalarVolumeNode"
    volume = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    data = vtk.vtkImageData()
    data.SetDimensions(columns, rows, 1)
    flat = np.ascontiguousarray(pixels[:, :, :channels]).reshape(-1, channels)
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    volume.SetAndObserveImageData(data)
    volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    volume.CreateDefaultDisplayNodes()
    return volume


def find_node(node_id: str, what: str) -> Any:
    """The node of that id; CaseGone when it left the scene."""
    node = slicer.mrmlScene.GetNodeByID(node_id)
    if node is None:
        raise CaseGone(_("{what} left the scene.").format(what=what), _("Open the case again."))
    return node


def as_array(matrix: Any) -> Array:
    """A vtkMatrix4x4 as numpy."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def ijk_to_ras(volume: Any) -> Any:
    """The volume's voxel -> RAS matrix, before any transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def volume_grid(volume: Any) -> Grid:
    """Where the volume's voxels lie, before any transform."""
    i, j, k = volume.GetImageData().GetDimensions()
    return Grid((i, j, k), as_array(ijk_to_ras(volume)))


def shape_kji(volume: Any) -> tuple[int, int, int]:
    """Shape of the volume's array [k, j, i]."""
    i, j, k = volume.GetImageData().GetDimensions()
    return k, j, i


def read_labels(path: Path) -> tuple[Array, Grid]:
    """Whole-number voxels [k, j, i] of a mask file, and where they lie."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetSingleFile(1)
    storage.SetFileName(str(path))
    if not storage.ReadData(node) or node.GetImageData() is None:
        raise ImageUnreadable(_("The site's mask cannot be read."), _("Try again, or choose another model."))
    labels = slicer.util.arrayFromVolume(node)
    if labels.ndim != 3:
        raise ImageUnreadable(
            _("The site's mask has {ndim} dimensions instead of 3.").format(ndim=labels.ndim),
            _("Choose another model."),
        )
    whole = labels.copy() if labels.dtype.kind in "iu" else labels.astype(np.int32)
    if labels.dtype.kind not in "iu" and not np.array_equal(whole, labels):
        raise LabelMismatch(_("The site's mask holds fractions instead of label values."), _("Choose another model."))
    return whole, volume_grid(node)


def volume_voxels(volume: Any) -> Voxels | None:
    """A copy of a volume's voxels and positions; None when a voxel is more than one number.

    Raises:
        ImageUnreadable: it holds no voxels.
    """
    from vtk.util import numpy_support

    image = volume.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        raise ImageUnreadable(
            _("The volume '{name}' holds no voxels.").format(name=volume.GetName()), _("Choose another volume.")
        )
    if image.GetNumberOfScalarComponents() != 1:
        return None
    array = np.array(numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()))
    return Voxels(array.reshape(shape_kji(volume)), volume_grid(volume))


def write_image(volume: Any, path: Path) -> None:
    """Write a volume's voxels and positions, without its name, attributes or DICOM fields."""
    bare = slicer.vtkMRMLScalarVolumeNode()
    bare.SetAndObserveImageData(volume.GetImageData())
    bare.SetIJKToRASMatrix(ijk_to_ras(volume))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    if not storage.WriteData(bare):
        raise FedSegError(_("The volume could not be written for sending."), _("Is the disk of this computer full?"))
