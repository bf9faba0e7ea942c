"""A case on the table for scene tests: canned images, label schemas, and edits as Slicer makes them."""

from __future__ import annotations

from math import cos, sin
from pathlib import Path
from typing import Any

import numpy as np
from FedSegLib.protocol import Label, LabelSchema, Mask
from volume_files import nrrd, read_nrrd

SCHEMA = LabelSchema((Label("edema", 2, (235, 190, 60)), Label("tumour", 5, (215, 60, 55))))
SHAPE = (7, 9, 5)


def affine_of(kind: str) -> np.ndarray[Any, Any]:
    rotation, spacing = np.eye(3), np.array([1.0, 1.0, 1.0])
    if kind == "LPS":
        rotation = np.diag([-1.0, -1.0, 1.0])
    elif kind == "anisotropic":
        rotation, spacing = np.diag([-1.0, 1.0, -1.0]), np.array([0.47, 0.51, 6.5])
    elif kind == "oblique":
        about_z = np.array([[cos(0.3), -sin(0.3), 0], [sin(0.3), cos(0.3), 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, cos(0.2), -sin(0.2)], [0, sin(0.2), cos(0.2)]])
        rotation, spacing = about_z @ about_x, np.array([0.7, 0.8, 3.0])
    elif kind == "sagittal":
        rotation = np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = [10.5, -20.25, 33.0]
    return affine


def random_image(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def random_labels(seed: int = 1, values: tuple[int, ...] = (0, 0, 2, 5)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).choice(values, SHAPE).astype(np.uint8)


def mask_of(labels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], names: dict[str, int] | None = None) -> Mask:
    return Mask(nrrd(labels, affine), ".nrrd", names or SCHEMA.values(), "unet", "v1", {})


class Desk:
    """A case on the table: Slicer's scene, the code under test, and a folder."""

    def __init__(self, folder: Path) -> None:
        from FedSegLib.scene import SlicerScene

        self.folder = folder
        self.code = SlicerScene()
        self.affine = affine_of("oblique")

    def open(self, kind: str = "oblique", content: bytes | None = None, suffix: str = ".nrrd") -> Any:
        self.affine = affine_of(kind)
        path = self.folder / f"image{suffix}"
        path.write_bytes(nrrd(random_image(), self.affine) if content is None else content)
        return self.code.open_image(path, "case-01", SCHEMA)

    def export(self, case: Any, **options: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        path = self.folder / "out.nrrd"
        self.code.export_mask(case, path, **options)
        return read_nrrd(path.read_bytes())


def segmentation_of(scene: Any, case: Any) -> Any:
    return scene.GetNodeByID(case.segmentation)


def layers(scene: Any, case: Any) -> int:
    return int(segmentation_of(scene, case).GetSegmentation().GetNumberOfLayers("Binary labelmap"))


def edit(scene: Any, case: Any, segment: str, mask: np.ndarray[Any, Any]) -> None:
    """Paint as Slicer's Segment Editor does: through the segmentations logic."""
    import slicer

    volume = scene.GetNodeByID(case.volume)
    array = np.ascontiguousarray(mask.transpose(2, 1, 0).astype(np.uint8))
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation_of(scene, case), segment, volume)


def paint(segmentation: Any, key: str, mask: np.ndarray[Any, Any], to_world: np.ndarray[Any, Any]) -> None:
    """Paint voxels of a grid of the world, as a brush in the views does: into the segmentation's own space."""
    import slicer
    import vtk
    from vtk.util import numpy_support

    from_world = vtk.vtkMatrix4x4()
    parent = segmentation.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(None, parent, from_world)
    strokes = slicer.vtkOrientedImageData()
    strokes.SetDimensions(*mask.shape)
    flat = np.ascontiguousarray(mask.transpose(2, 1, 0), np.uint8).ravel()
    strokes.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    matrix = slicer.util.arrayFromVTKMatrix(from_world) @ to_world
    strokes.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(strokes, segmentation, key, logic.MODE_MERGE_MASK)


def add_transform(scene: Any, matrix: np.ndarray[Any, Any]) -> Any:
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node
