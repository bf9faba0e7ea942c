"""Images and masks go in and come out on the same grid, voxel by voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from PIL import Image

from monailabel_app.errors import GeometryError, ImageError
from monailabel_app.imaging.files import conform_mask, read_mask, read_volume, write_mask

SHAPE = (7, 9, 5)
Affine = npt.NDArray[np.float64]


def voxels(dtype: str = "int16") -> npt.NDArray[np.generic]:
    return np.random.default_rng(0).integers(-200, 900, SHAPE).astype(dtype)


def some_mask(shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint16", "int32", ">i2"])
def test_nifti_keeps_voxels_and_affine(tmp_path: Path, grid: Affine, dtype: str) -> None:
    nib.save(nib.Nifti1Image(np.abs(voxels(dtype)), grid), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, np.abs(voxels(dtype)))
    np.testing.assert_array_equal(volume.affine, grid)
    np.testing.assert_allclose(volume.spacing, np.linalg.norm(grid[:3, :3], axis=0))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_nifti_mask_lies_on_the_grid_of_its_image(tmp_path: Path, grid: Affine, suffix: str) -> None:
    nib.save(nib.Nifti1Image(voxels(), grid), tmp_path / f"image{suffix}")
    image, mask = read_volume(tmp_path / f"image{suffix}"), some_mask()
    write_mask(mask, image, tmp_path / f"mask{suffix}")
    stored = nib.load(tmp_path / f"mask{suffix}")
    assert stored.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(stored.dataobj), mask)
    np.testing.assert_array_equal(stored.affine, grid)
    np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / f"mask{suffix}"), image), mask)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (0, 1), (2, 0), (4, 3), (0, 0)])
def test_mask_keeps_sform_and_qform_to_the_bit(tmp_path: Path, sform: int, qform: int) -> None:
    affine = np.array([[-0.9, 0.1, 0, 80], [0.1, 0.9, 0, -90], [0, 0, 2.2, 13], [0, 0, 0, 1]])
    image = nib.Nifti1Image(voxels(), affine)
    image.set_sform(affine, sform)
    image.set_qform(affine + np.diag([0, 0, 0.5, 0]), qform)
    nib.save(image, tmp_path / "image.nii")
    write_mask(some_mask(), read_volume(tmp_path / "image.nii"), tmp_path / "mask.nii")
    before, after = (nib.load(tmp_path / name).header for name in ("image.nii", "mask.nii"))
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "pixdim", "xyzt_units"):
        np.testing.assert_array_equal(before[field], after[field], err_msg=field)
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        assert before[field] == after[field], field


def as_itk_writes(folder: Path, image: Path, mask: npt.NDArray[np.uint8]) -> Path:
    """A mask as 3D Slicer saves it: on the grid that ITK reads from the image."""
    drawn = sitk.GetImageFromArray(mask.transpose(2, 1, 0))
    drawn.CopyInformation(sitk.ReadImage(str(image), imageIO="NiftiImageIO"))
    sitk.WriteImage(drawn, str(folder / "drawn.nrrd"))
    return folder / "drawn.nrrd"


@pytest.mark.parametrize("qform", range(5))
@pytest.mark.parametrize("sform", range(5))
@pytest.mark.parametrize("other", [np.eye(4), np.diag([1, -1, 5, 1])])
def test_image_of_two_affines_lies_where_itk_puts_it(tmp_path: Path, other: Affine, sform: int, qform: int) -> None:
    affine = np.array([[-0.9, 0.1, 0, 80], [0.1, 0.9, 0, -90], [0, 0, 2.2, 13], [0, 0, 0, 1]])
    image = nib.Nifti1Image(voxels(), None)
    image.header.set_qform(affine, qform)
    image.header.set_sform(other @ affine, sform)
    nib.save(image, tmp_path / "image.nii")
    volume = read_volume(tmp_path / "image.nii")
    drawn = read_mask(as_itk_writes(tmp_path, tmp_path / "image.nii", some_mask()))
    np.testing.assert_allclose(volume.affine, drawn.affine, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(conform_mask(drawn, volume), some_mask())
    write_mask(some_mask(), volume, tmp_path / "mask.nii")
    np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / "mask.nii"), volume), some_mask())


def test_sheared_sform_is_passed_over_as_itk_does(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), None)
    image.header.set_qform(np.diag([-1.0, -1, 3, 1]), 1)
    image.header.set_sform([[1, 0.3, 0, -3], [0, 1.2, 0.1, 4], [0, 0, 2.5, 9], [0, 0, 0, 1]], 1)
    nib.save(image, tmp_path / "image.nii")
    drawn = read_mask(as_itk_writes(tmp_path, tmp_path / "image.nii", some_mask()))
    np.testing.assert_array_equal(conform_mask(drawn, read_volume(tmp_path / "image.nii")), some_mask())


def test_mask_does_not_repeat_free_text_of_the_image(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), np.eye(4))
    image.header["descrip"] = b"Jane Doe 1971"
    image.header["db_name"] = b"JaneDoe"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe again"))
    nib.save(image, tmp_path / "image.nii")
    write_mask(some_mask(), read_volume(tmp_path / "image.nii"), tmp_path / "mask.nii")
    assert b"Jane" in (tmp_path / "image.nii").read_bytes()
    assert b"Jane" not in (tmp_path / "mask.nii").read_bytes()


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels(), np.eye(4)), tmp_path / "image.nii.gz")
    image = read_volume(tmp_path / "image.nii.gz")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_mask(some_mask(), image, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_scaled_nifti_comes_as_measured(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), np.eye(4))
    image.header.set_slope_inter(2, -1000)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.array, 2.0 * voxels() - 1000)
    write_mask(some_mask(), volume, tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj), some_mask())


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1), (7, 9, 1, 1)])
def test_two_dimensional_nifti(tmp_path: Path, shape: tuple[int, ...]) -> None:
    flat = np.arange(63, dtype=np.int16).reshape(7, 9)
    nib.save(nib.Nifti1Image(flat.reshape(shape), np.diag([-1.0, -2, 1, 1])), tmp_path / "flat.nii.gz")
    volume = read_volume(tmp_path / "flat.nii.gz")
    assert volume.is_2d
    np.testing.assert_array_equal(volume.array[:, :, 0], flat)
    mask = some_mask((7, 9, 1))
    write_mask(mask, volume, tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / "mask.nii.gz"), volume), mask)


def test_single_time_point_counts_as_a_volume(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels()[..., None], np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, voxels())


def test_colour_nifti(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    packed = np.ascontiguousarray(rgb).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nib.save(nib.Nifti1Image(packed, np.eye(4)), tmp_path / "rgb.nii.gz")
    volume = read_volume(tmp_path / "rgb.nii.gz")
    assert volume.is_colour
    np.testing.assert_array_equal(volume.array, rgb)


def test_nrrd_and_metaimage_agree_with_itk(tmp_path: Path, orthogonal_grid: Affine) -> None:
    image = sitk.GetImageFromArray(voxels().transpose(2, 1, 0))
    lps, spacing = np.diag([-1, -1, 1, 1]) @ orthogonal_grid, np.linalg.norm(orthogonal_grid[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    for suffix in (".nrrd", ".mha", ".mhd"):
        sitk.WriteImage(image, str(tmp_path / f"image{suffix}"))
        volume = read_volume(tmp_path / f"image{suffix}")
        np.testing.assert_array_equal(volume.array, voxels())
        np.testing.assert_allclose(volume.affine, orthogonal_grid, rtol=0, atol=1e-6)
    for suffix in (".nrrd", ".mha", ".nii.gz"):
        write_mask(some_mask(), volume, tmp_path / f"mask{suffix}", {"tumour": 1})
        stored = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(stored).transpose(2, 1, 0), some_mask())
        np.testing.assert_allclose(stored.GetDirection(), image.GetDirection(), atol=1e-5)
        np.testing.assert_allclose(stored.GetOrigin(), image.GetOrigin(), atol=1e-4)
        np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / f"mask{suffix}"), volume), some_mask())


def test_nrrd_keeps_any_affine_exactly(tmp_path: Path, grid: Affine) -> None:
    nib.save(nib.Nifti1Image(voxels(), grid), tmp_path / "image.nii.gz")
    write_mask(some_mask(), read_volume(tmp_path / "image.nii.gz"), tmp_path / "mask.nrrd")
    mask = read_mask(tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(mask.affine, grid)
    np.testing.assert_array_equal(mask.array, some_mask())


def test_nrrd_mask_names_its_segments_for_slicer(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels(), np.eye(4)), tmp_path / "image.nii.gz")
    image = read_volume(tmp_path / "image.nii.gz")
    write_mask(some_mask(), image, tmp_path / "mask.seg.nrrd", {"oedema": 2, "core": 1})
    header = nrrd.read_header(str(tmp_path / "mask.seg.nrrd"))
    assert (header["Segment0_Name"], header["Segment0_LabelValue"]) == ("core", "1")
    assert (header["Segment1_Name"], header["Segment1_LabelValue"]) == ("oedema", "2")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "P", "1"])
def test_pictures(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 4000, (6, 8)).astype(np.uint16))
    else:
        picture = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "p.png")
    volume = read_volume(tmp_path / "p.png")
    assert volume.is_2d
    assert volume.shape == (8, 6, 1)
    assert volume.is_colour == (mode in {"RGB", "RGBA", "P"})
    if mode in {"L", "I;16"}:
        np.testing.assert_array_equal(volume.array[:, :, 0].T, np.asarray(picture))
    mask = some_mask((8, 6, 1))
    for suffix in (".png", ".nii.gz", ".nrrd"):
        write_mask(mask, volume, tmp_path / f"mask{suffix}")
        np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / f"mask{suffix}"), volume), mask)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")).T, mask[:, :, 0])


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("p.tif", {"dpi": (300, 150)}),
        ("p.tif", {"resolution": 100, "resolution_unit": 3}),
        ("p.tif", {"resolution": 100, "resolution_unit": 1}),
        ("p.tif", {}),
        ("p.jpg", {"dpi": (300, 150)}),
        ("p.jpg", {}),
        ("p.png", {"dpi": (300, 150)}),
        ("p.bmp", {"dpi": (300, 150)}),
    ],
)
def test_pixels_of_a_picture_are_as_large_as_itk_says(tmp_path: Path, name: str, resolution: dict[str, Any]) -> None:
    Image.new("L", (8, 6)).save(tmp_path / name, **resolution)
    picture, mask = read_volume(tmp_path / name), some_mask((8, 6, 1))
    drawn = sitk.GetImageFromArray(mask[:, :, 0].T)
    drawn.CopyInformation(sitk.ReadImage(str(tmp_path / name)))
    sitk.WriteImage(drawn, str(tmp_path / "drawn.nrrd"))
    Image.fromarray(mask[:, :, 0].T).save(tmp_path / "drawn.png")
    write_mask(mask, picture, tmp_path / "site.nii.gz")
    for file in ("drawn.nrrd", "drawn.png", "site.nii.gz"):
        np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / file), picture), mask)
    assert sitk.ReadImage(str(tmp_path / "site.nii.gz")).GetSpacing()[:2] == pytest.approx(drawn.GetSpacing())
    drawn.SetSpacing((0.5, 0.5))
    sitk.WriteImage(drawn, str(tmp_path / "other.nrrd"))
    with pytest.raises(GeometryError, match="spacing"):
        conform_mask(read_mask(tmp_path / "other.nrrd"), picture)


def test_grey_picture_stored_as_colour_is_grey(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (9, 9, 9, 255)).save(tmp_path / "p.png")
    assert not read_volume(tmp_path / "p.png").is_colour


def test_real_samples_round_trip(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "small-samples"
    found = sorted([*folder.rglob("*.nii.gz"), *folder.rglob("*.nrrd")])
    assert len(found) >= 8
    for path in found:
        volume = read_volume(path)
        mask = some_mask(volume.shape)
        for suffix in (".nii.gz", ".nrrd", ".mha"):
            write_mask(mask, volume, tmp_path / f"mask{suffix}")
            np.testing.assert_array_equal(conform_mask(read_mask(tmp_path / f"mask{suffix}"), volume), mask)


def test_failed_write_leaves_the_old_mask_and_no_litter(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels(), np.eye(4)), tmp_path / "image.nii.gz")
    image = read_volume(tmp_path / "image.nii.gz")
    write_mask(some_mask(), image, tmp_path / "mask.nii.gz")
    before = (tmp_path / "mask.nii.gz").read_bytes()
    with pytest.raises(GeometryError, match="shape"):
        write_mask(some_mask((2, 2, 2)), image, tmp_path / "mask.nii.gz")
    with pytest.raises(GeometryError, match="picture"):
        write_mask(some_mask(), image, tmp_path / "mask.png")
    with pytest.raises(ImageError, match="not written"):
        write_mask(some_mask(), image, tmp_path / "mask.jpg")
    (tmp_path / "taken.nii.gz").mkdir()
    with pytest.raises(OSError):
        write_mask(some_mask(), image, tmp_path / "taken.nii.gz")
    assert (tmp_path / "mask.nii.gz").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.nii.gz", "mask.nii.gz", "taken.nii.gz"]
