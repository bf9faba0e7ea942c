"""L3: what the slice views show, drawn by Slicer's own displayable managers into memory, checked pixel by pixel."""

from __future__ import annotations

import ctypes.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_desk import SCHEMA, affine_of, mask_of
from FedSegLib.decoding import decode_image
from FedSegLib.scene import Pointer, SlicerScene
from panel_driver import shots_folder
from volume_files import nrrd

pytestmark = pytest.mark.skipif(ctypes.util.find_library("OSMesa") is None, reason="OSMesa is not installed")

SHAPE = (48, 40, 30)
KINDS = ("RAS", "LPS", "anisotropic", "oblique", "sagittal")
EDEMA, TUMOUR = 2, 5


def head() -> tuple[Any, Any]:
    """A grey ellipsoid, and labels off its middle, so that a flipped or turned picture shows."""
    i, j, k = np.indices(SHAPE).astype(float)
    inside = ((i - 23.5) / 23) ** 2 + ((j - 19.5) / 19) ** 2 + ((k - 14.5) / 14) ** 2 < 1
    distance = np.sqrt((i - 30) ** 2 + (j - 24) ** 2 + (k - 18) ** 2)
    labels = np.where(distance < 5, TUMOUR, np.where((distance < 9) & (i > 26) & (j > 20) & (k < 22), EDEMA, 0)).astype(
        np.uint8
    )
    return (inside * (200 + 4 * i + 2 * j)).astype(np.int16), labels


class Table:
    """A case, its views, and where pictures go."""

    def __init__(self, folder: Path, kind: str) -> None:
        from FedSegLib.scene.case import case_nodes
        from standins.slice_view import SliceView

        self.code, self.affine, self.folder = SlicerScene(), affine_of(kind), folder
        image, self.labels = head()
        path = folder / "image.nrrd"
        path.write_bytes(nrrd(image, self.affine))
        self.case = self.code.open_image(path, "case", SCHEMA, decode_image(path))
        self.volume, self.segmentation = case_nodes(self.case)
        self.views = {name: SliceView(name, name) for name in ("Axial", "Sagittal", "Coronal")}
        for view in self.views.values():
            view.show(self.volume)
            self.cut(view, (30, 24, 18))

    def world(self, ijk: Any) -> Any:
        return (self.affine @ [*ijk, 1.0])[:3]

    def cut(self, view: Any, ijk: Any) -> None:
        normal = np.array([view.node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
        view.node.SetSliceOffset(float(normal @ self.world(ijk)))

    def expected(self, view: Any, labels: Any) -> Any:
        """The label under every pixel: each pixel's centre to the voxel that it lies in."""
        matrix = view.node.GetXYToRAS()
        to_ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
        columns, rows, _ = view.node.GetDimensions()
        x, y = np.meshgrid(np.arange(columns), np.arange(rows)[::-1])
        ras = to_ras @ np.stack([x, y, np.zeros_like(x), np.ones_like(x)]).reshape(4, -1)
        voxel = np.floor(np.linalg.inv(self.affine) @ ras + 0.5).astype(int)[:3]
        found = np.zeros(columns * rows, np.uint8)
        inside = ((voxel >= 0) & (voxel < np.reshape(SHAPE, (3, 1)))).all(axis=0)
        found[inside] = labels[tuple(voxel[:, inside])]
        return found.reshape(rows, columns)

    def shoot(self, name: str) -> None:
        """The three views beside each other, as a picture to look at."""
        from PySide6 import QtGui

        rows = np.ascontiguousarray(np.hstack([view.picture() for view in self.views.values()]))
        height, width, _ = rows.shape
        picture = QtGui.QImage(rows.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888)
        folder = shots_folder(self.folder / "shots")
        folder.mkdir(parents=True, exist_ok=True)
        assert picture.save(str(folder / f"{name}.png"))

    def close(self) -> None:
        for view in self.views.values():
            view.close()


def seen(picture: Any) -> Any:
    """Labels by colour: grey is nothing, red the tumour, yellow the edema (both shine through on the image)."""
    red, green, blue = (picture[:, :, channel].astype(int) for channel in range(3))
    yellow = (green - blue > 25) & (red - blue > 25)
    reddish = (red - green > 40) & ~yellow
    return np.where(reddish, TUMOUR, np.where(yellow, EDEMA, 0))


def overlap(one: Any, two: Any) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.count_nonzero(one | two)
    return np.count_nonzero(one & two) / union if union else 1.0


@pytest.fixture
def table(scene: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Table]:
    table = Table(tmp_path, getattr(request, "param", "oblique"))
    yield table
    table.close()


@pytest.mark.parametrize("table", KINDS, indirect=True)
def test_masks_are_seen_where_their_voxels_lie(table: Table, request: pytest.FixtureRequest) -> None:
    table.code.show_mask(table.case, mask_of(table.labels, table.affine), table.folder)
    for name, view in table.views.items():
        wanted, found = table.expected(view, table.labels), seen(view.picture())
        assert (wanted == TUMOUR).sum() > 100, name
        for label in (EDEMA, TUMOUR):
            assert overlap(found == label, wanted == label) > 0.85, (name, label)
    table.shoot(f"40-slices-{request.node.callspec.params['table']}")


def test_the_image_is_seen_and_is_not_washed_out(table: Table) -> None:
    grey = table.views["Axial"].picture()
    assert grey[0, 0].max() < 20
    row, column = table.views["Axial"].pixel(table.world((30, 24, 18)))
    assert 100 < grey[row, column].mean() <= 255
    assert np.ptp(grey[row, column].astype(int)) == 0


def test_a_result_changes_the_picture_in_its_box_only(table: Table) -> None:
    view = table.views["Axial"]
    before = view.picture()
    canvas = table.code.canvas(table.case, lambda pointer: None)
    changed = np.ones((3, 6, 8), bool)
    canvas.apply((slice(17, 20), slice(10, 16), slice(12, 20)), np.full((3, 6, 8), TUMOUR, np.uint8), changed)
    after = view.picture()
    canvas.close()
    labels = np.zeros(SHAPE, np.uint8)
    labels[12:20, 10:16, 17:20] = TUMOUR
    wanted = table.expected(view, labels) == TUMOUR
    assert wanted.sum() > 100
    moved = (before.astype(int) != after).any(axis=2)
    assert overlap(moved, wanted) > 0.8
    rows, columns = np.nonzero(wanted)
    edge = 8  # the outline glows a little beyond the mask
    near = np.zeros_like(wanted)
    near[rows.min() - edge : rows.max() + edge, columns.min() - edge : columns.max() + edge] = True
    assert not (moved & ~near).any()


def test_points_are_seen_where_they_were_placed(table: Table) -> None:
    import slicer

    view = table.views["Axial"]
    places = {Pointer.INCLUDE: (30, 24, 18), Pointer.EXCLUDE: (14, 12, 18)}
    for pointer, ijk in places.items():
        table.cut(view, ijk)
        slicer.mrmlScene.GetNodeByID(table.case.pointers[pointer]).AddControlPointWorld(*table.world(ijk))
        row, column = view.pixel(table.world(ijk))
        around = view.picture()[row - 3 : row + 4, column - 3 : column + 4].astype(int)
        strongest = 1 if pointer is Pointer.INCLUDE else 0
        others = [channel for channel in range(3) if channel != strongest]
        assert (around[:, :, strongest] - around[:, :, others].max(axis=2)).max() > 60, pointer
    table.shoot("41-slices-points")


def test_a_comparison_shows_what_only_one_version_found(table: Table) -> None:
    one, two = (mask_of(np.roll(table.labels, shift, axis=0), table.affine) for shift in (0, 4))
    table.code.show_mask(table.case, one, table.folder)
    own = seen(table.views["Axial"].picture())
    table.code.show_comparison(table.case, (one, two), ("v1", "v2"), table.folder, None)
    table.code.set_comparison_mode("difference")
    picture = table.views["Axial"].picture().astype(int)
    only_one = picture[:, :, 2] - picture[:, :, 0] > 40  # blue
    assert only_one.any()
    labels = table.labels
    wanted = table.expected(table.views["Axial"], ((labels != 0) & (np.roll(labels, 4, axis=0) == 0)).astype(np.uint8))
    assert overlap(only_one, wanted != 0) > 0.7
    table.shoot("42-slices-difference")
    table.code.end_comparison()
    assert np.array_equal(seen(table.views["Axial"].picture()), own)
