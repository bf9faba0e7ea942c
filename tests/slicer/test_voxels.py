"""L1: files that the worker reads lie exactly where Slicer's own readers put them; what it writes, Slicer reads."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_desk import SCHEMA, affine_of, random_image, random_labels
from FedSegLib.decoding import decode_image, decode_mask, grey_window
from FedSegLib.errors import LabelMismatch
from FedSegLib.grid import Grid
from FedSegLib.voxels import Voxels, image_file, mask_file, parse_voxels
from volume_files import nifti, nrrd

KINDS = ("RAS", "LPS", "anisotropic", "oblique", "sagittal")


def by_slicer(path: Path) -> tuple[Any, Any]:
    """Voxels [k, j, i] and affine as Slicer reads them."""
    import slicer
    from FedSegLib.scene.volumes import as_array, ijk_to_ras, load_volume

    node = load_volume(path, "x")
    return slicer.util.arrayFromVolume(node), as_array(ijk_to_ras(node))


def with_quaternion(content: bytes, *, also_rows: bool) -> bytes:
    """A NIfTI file whose position is told by a quaternion: a turn of 90 degrees about z, 2 mm voxels."""
    data = bytearray(gzip.decompress(content))
    struct.pack_into("<8f", data, 76, 1.0, 2.0, 2.0, 2.0, 0, 0, 0, 0)
    struct.pack_into("<2h", data, 252, 1, int(also_rows))
    struct.pack_into("<6f", data, 256, 0.0, 0.0, 0.5**0.5, 5.0, 6.0, 7.0)
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", "lps.nrrd"])
def test_images_lie_where_slicer_puts_them(scene: Any, tmp_path: Path, kind: str, suffix: str) -> None:
    affine, path = affine_of(kind), tmp_path / f"image{suffix}"
    if suffix.endswith("nrrd"):
        space = "left-posterior-superior" if "lps" in suffix else "right-anterior-superior"
        path.write_bytes(nrrd(random_image(), affine, space))
    else:
        content = nifti(random_image(), affine)
        path.write_bytes(content if suffix == ".nii.gz" else gzip.decompress(content))
    image = decode_image(path)
    assert image is not None
    array, where = by_slicer(path)
    assert np.array_equal(image.voxels.array, array)
    assert image.voxels.array.dtype == array.dtype
    assert np.allclose(image.voxels.grid.affine, where, rtol=0, atol=2e-5)


def test_a_position_told_by_a_quaternion_is_read_as_slicer_does(scene: Any, tmp_path: Path) -> None:
    path = tmp_path / "image.nii"
    path.write_bytes(with_quaternion(nifti(random_image(), np.eye(4)), also_rows=False))
    image = decode_image(path)
    assert image is not None
    array, where = by_slicer(path)
    assert np.array_equal(image.voxels.array, array)
    assert np.allclose(image.voxels.grid.affine, where, rtol=0, atol=2e-5)


def sheared(content: bytes) -> bytes:
    data = bytearray(gzip.decompress(content))
    struct.pack_into("<f", data, 284, 0.3)
    return bytes(data)


def changed(content: bytes, kind: str, offset: int, *values: float) -> bytes:
    data = bytearray(gzip.decompress(content))
    struct.pack_into(f"<{len(values)}{kind}", data, offset, *values)
    return bytes(data)


PLAIN = nifti(np.zeros((4, 3, 2), np.int16), np.eye(4))
UNUSUAL = {
    "two positions that disagree": with_quaternion(PLAIN, also_rows=True),
    "no position": changed(PLAIN, "h", 252, 0, 0),
    "sheared": sheared(PLAIN),
    "scaled values": changed(PLAIN, "f", 112, 2.0, 0.0),
    "shifted values": changed(PLAIN, "f", 112, 1.0, 5.0),
    "metres": changed(PLAIN, "B", 123, 1),
    "four dimensions": changed(PLAIN, "h", 40, 4, 4, 3, 1, 2),
    "complex numbers": changed(PLAIN, "h", 70, 32, 64),
    "spacing that is not the axes'": changed(PLAIN, "f", 80, 3.0),
    "cut": gzip.decompress(PLAIN)[:360],
    "not NIfTI": b"x" * 400,
    "empty": b"",
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_files_are_left_to_slicer(name: str) -> None:
    assert parse_voxels(UNUSUAL[name], "image.nii") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"dimension: 3", b"dimension: 4"),
        (b"kinds: domain domain domain", b"kinds: RGB-color domain domain"),
        (b"encoding: gzip", b"encoding: bzip2"),
        (b"space: right-anterior-superior", b"space: scanner-xyz"),
        (b"type: int16", b"type: block"),
        (b"NRRD0004", b"NRRX0004"),
        (b"endian: little", b"data file: other.raw"),
    ],
)
def test_unusual_nrrd_files_are_left_to_slicer(old: bytes, new: bytes) -> None:
    content = nrrd(random_image(), affine_of("oblique"))
    assert parse_voxels(content, ".nrrd") is not None
    assert parse_voxels(content.replace(old, new), ".nrrd") is None


def test_other_formats_are_left_to_slicer() -> None:
    assert parse_voxels(b"anything", "image.mha") is None
    assert parse_voxels(b"\x1f\x8b broken", "image.nii.gz") is None


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    array = random_image()
    header = nrrd(array, np.eye(4)).partition(b"\n\n")[0].replace(b"little", b"big").replace(b"gzip", b"raw")
    found = parse_voxels(header + b"\n\n" + array.astype(">i2").tobytes(order="F"), ".nrrd")
    assert found is not None
    assert np.array_equal(found.array, array.transpose(2, 1, 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_slicer_reads_the_masks_that_are_written(scene: Any, tmp_path: Path, kind: str, suffix: str) -> None:
    from FedSegLib.scene.volumes import read_labels

    labels = random_labels().transpose(2, 1, 0)
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(mask_file(labels, affine_of(kind), suffix))
    found, grid = read_labels(path)
    assert np.array_equal(found, labels)
    Grid((7, 9, 5), affine_of(kind)).check_same(grid, "what Slicer read")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_slicer_reads_the_images_that_are_written(scene: Any, tmp_path: Path, dtype: Any) -> None:
    array = np.random.default_rng(1).uniform(0, 200, (5, 9, 7)).astype(dtype)
    path = tmp_path / "image.nrrd"
    path.write_bytes(image_file(Voxels(array, Grid((7, 9, 5), affine_of("oblique")))))
    found, where = by_slicer(path)
    assert found.dtype == dtype
    assert np.array_equal(found, array)
    assert np.allclose(where, affine_of("oblique"))


def test_grey_values_leave_out_air_and_rare_extremes() -> None:
    array = np.zeros((20, 30, 30), np.int16)
    array[5:15] = np.random.default_rng(0).normal(100, 10, (10, 30, 30))
    array[7, 7, 7] = 30000
    low, high = grey_window(array)
    assert 20 < low < 60
    assert 110 < high < 140


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_flat_image_still_has_a_window(value: float) -> None:
    low, high = grey_window(np.full((3, 4, 5), value, np.float32))
    assert low < high


def test_masks_arrive_as_the_schemas_values() -> None:
    labels = random_labels(values=(0, 1, 3))
    found = decode_mask(nrrd(labels, np.eye(4)), ".nrrd", {"tumour": 1, "edema": 3}, SCHEMA)
    assert found is not None
    wanted = np.array([0, 5, 0, 2], np.uint8)[labels].transpose(2, 1, 0)
    assert np.array_equal(found.array, wanted)
    with pytest.raises(LabelMismatch):
        decode_mask(nrrd(labels, np.eye(4)), ".nrrd", {"tumour": 1}, SCHEMA)
