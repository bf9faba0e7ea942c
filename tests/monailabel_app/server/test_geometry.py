"""Voxel-exact through infer and save, for every orientation and for a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import requests

pytestmark = pytest.mark.slow

CASES = ("ras", "lps", "oblique", "thick", "coronal")


def random_mask(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.uint8]:
    """A mask without any symmetry, so that a swapped or flipped axis shows."""
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def turned(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same mask in another axis order and direction, as another program would save it."""
    current = nib.orientations.io_orientation(image.affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(current, wanted))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("codes", [None, "LPS", "SRA"])
def test_a_saved_mask_comes_back_on_the_grid_of_its_image(
    site: Any, tmp_path: Path, case: str, codes: str | None
) -> None:
    image = nib.load(site.studies / f"{case}.nii.gz")
    voxels = random_mask(image.shape, len(case))
    mask = nib.Nifti1Image(voxels, image.affine)
    path = tmp_path / "mask.nii.gz"
    nib.save(mask if codes is None else turned(mask, codes), path)
    saved = site.save(case, path, tag="exact")
    assert saved.status_code == 200, saved.text
    (tmp_path / "back.nii.gz").write_bytes(site.get("/datastore/label", params={"label": case, "tag": "exact"}).content)
    back = nib.load(tmp_path / "back.nii.gz")
    assert np.array_equal(back.affine, image.affine)
    assert np.array_equal(np.asarray(back.dataobj), voxels)


@pytest.mark.parametrize("case", CASES)
def test_an_inferred_mask_lies_on_the_image_and_can_be_saved_unchanged(site: Any, tmp_path: Path, case: str) -> None:
    image = nib.load(site.studies / f"{case}.nii.gz")
    masks = []
    for suffix in (".nii.gz", ".nrrd"):
        reply = site.infer(case, result_extension=suffix)
        assert reply.status_code == 200, reply.text
        path = tmp_path / f"mask{suffix}"
        path.write_bytes(reply.content)
        saved = site.save(case, path, tag=f"inferred-{suffix[1:3]}")
        assert saved.status_code == 200, saved.text
        label = site.get("/datastore/label", params={"label": case, "tag": f"inferred-{suffix[1:3]}"})
        (tmp_path / "back.nii.gz").write_bytes(label.content)
        masks.append(np.asarray(nib.load(tmp_path / "back.nii.gz").dataobj))
    first = nib.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(first.affine, image.affine)
    assert np.array_equal(np.asarray(first.dataobj), masks[0])
    assert np.array_equal(masks[0], masks[1])


def test_a_picture_goes_through_as_a_picture(site: Any, tmp_path: Path) -> None:
    from PIL import Image

    reply = site.infer("picture", result_extension=".png")
    assert reply.status_code == 200, reply.text
    (tmp_path / "inferred.png").write_bytes(reply.content)
    size = Image.open(site.studies / "picture.png").size
    assert Image.open(tmp_path / "inferred.png").size == size
    drawn = random_mask((size[1], size[0]), 4)
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    assert site.save("picture", tmp_path / "drawn.png", tag="exact").status_code == 200
    label = site.get("/datastore/label", params={"label": "picture", "tag": "exact"})
    (tmp_path / "back.nii.gz").write_bytes(label.content)
    back = np.asarray(nib.load(tmp_path / "back.nii.gz").dataobj)
    assert np.array_equal(back[:, :, 0].T, drawn)


def prompt(site: Any, case: str, **params: Any) -> requests.Response:
    reply: requests.Response = site.infer(case, "sam", label="tumour", **params)
    return reply


def test_prompts_change_their_slice_only_and_are_kept_with_the_correction(
    site: Any, truth: Callable[[str, Path, Path], Path], tmp_path: Path
) -> None:
    reply = prompt(site, "thick", foreground=[[10, 12, 4]], background=[[2, 2, 4]], box=[5, 7, 4, 15, 19, 4])
    assert reply.status_code == 200, reply.text
    (tmp_path / "mask.nii.gz").write_bytes(reply.content)
    mask = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert not np.delete(mask, 4, axis=2).any()
    saved = site.save("coronal", truth("coronal", site.studies, tmp_path), author="ann", seconds=12.5)
    assert saved.json()["dice_shown"] is not None
    prompt(site, "oblique", foreground=[[10, 12, 4]])
    identifier = site.save("oblique", truth("oblique", site.studies, tmp_path), author="ann").json()["correction"]
    kept = site.get(f"/corrections/{identifier}").json()
    assert (kept["author"], kept["prompts"]) == ("ann", 1)
    assert kept["prompt_list"][0]["foreground"] == [[10, 12, 4]]
    assert kept["version_shown"].startswith("sam-")
