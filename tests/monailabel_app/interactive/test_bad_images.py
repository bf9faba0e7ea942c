"""Images that a session cannot be opened on, or that change under it: told, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from monailabel_app.errors import Conflict, ImageError, NotFound, SiteError, TooLarge
from monailabel_app.imaging.volume import Volume
from monailabel_app.interactive.desk import SessionDesk
from monailabel_app.interactive.engine import Engine
from monailabel_app.interactive.limits import image_bytes
from monailabel_app.interactive.prompts import PromptRequest
from monailabel_app.state.database import Database
from monailabel_app.state.prompts import PromptStore

Build = Callable[[str], Volume]
Voxels = npt.NDArray[Any]


def click(*voxel: int, **more: Any) -> PromptRequest:
    return PromptRequest.model_validate({"foreground": [voxel], **more})


@pytest.fixture
def desk(tmp_path: Path, make_engine: Callable[..., Engine], build: Build) -> Iterator[SessionDesk]:
    volume = build("thick")
    nib.save(nib.Nifti1Image(volume.array, volume.affine), tmp_path / "good.nii")
    database = Database(tmp_path / "site.sqlite")
    made = SessionDesk(
        {"sam": make_engine()},
        PromptStore(database, tmp_path / "shown"),
        lambda case: tmp_path / f"{case}.nii",
        {"tumour": 1},
        memory_limit=2**26,
    )
    yield made
    made.stop()
    database.close()


def holed(value: float) -> Voxels:
    array = np.ones((8, 9, 4), dtype=np.float32)
    array[2, 3, 1] = value
    return array


BAD: dict[str, tuple[Voxels, type[SiteError], str]] = {
    "NaN": (holed(np.nan), ImageError, "1 voxels that are NaN"),
    "infinity": (holed(np.inf), ImageError, "NaN or infinite"),
    "4D": (np.ones((8, 9, 4, 3), dtype=np.int16), ImageError, "three axes"),
    "no voxel": (np.ones((8, 0, 4), dtype=np.int16), ImageError, "no voxel"),
    "complex": (np.ones((8, 9, 4), dtype=np.complex64), ImageError, "complex64"),
    "too large": (np.ones((256, 256, 129), dtype=np.uint8), TooLarge, "GiB"),
}


@pytest.mark.parametrize(("array", "error", "says"), BAD.values(), ids=BAD.keys())
def test_an_image_that_cannot_be_used_is_refused_and_an_open_session_goes_on(
    desk: SessionDesk, tmp_path: Path, array: Voxels, error: type[SiteError], says: str
) -> None:
    opened = desk.open("ann", "good")
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "bad.nii")
    with pytest.raises(error, match=says) as caught:
        desk.open("ann", "bad")
    assert caught.value.hint
    assert str(tmp_path) not in str(caught.value)
    assert desk.sessions("ann") == [opened]
    assert desk.prompt(opened, click(12, 14, 4)).step == 1


def test_a_session_outlives_its_image(desk: SessionDesk, tmp_path: Path) -> None:
    opened = desk.open("ann", "good")
    desk.prompt(opened, click(12, 14, 4))
    drawn = opened.session.mask.copy()
    file = tmp_path / "good.nii"
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(NotFound, match="was removed"):
        desk.prompt(opened, click(13, 14, 4))
    with pytest.raises(NotFound, match="was removed"):
        desk.open("ben", "good")
    desk.undo(opened)
    assert not opened.session.mask.any()
    desk.undo(opened, redo=True)
    assert np.array_equal(opened.session.mask, drawn)
    work = desk.propagate(opened, None, opened.session.axis, 1, [])
    work.wait(60)
    assert work.status.state == "done"
    file.write_bytes(content + b"\0")
    with pytest.raises(Conflict, match="was replaced"):
        desk.prompt(opened, click(13, 14, 4))
    desk.close(opened)
    again = desk.open("ann", "good", initial=True)
    assert (again.session.mask > 0)[drawn > 0].all()
    assert desk.prompt(again, click(13, 14, 4)).step == 1


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_a_colour_volume_is_prompted_across_every_axis(desk: SessionDesk, tmp_path: Path, axis: str) -> None:
    array = np.random.default_rng(0).integers(0, 80, (20, 22, 12, 3)).astype(np.uint8)
    array[5:15, 6:16, 3:9, 0] += 150
    colours = np.zeros(array.shape[:3], dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for number, name in enumerate("RGB"):
        colours[name] = array[..., number]
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "colour.nii")
    opened = desk.open("ann", "colour", axis=axis)
    assert opened.session.window.kind == "colour"
    answer = desk.prompt(opened, click(10, 11, 6))
    changed = np.argwhere(opened.session.mask)
    across = "ijk".index(axis)
    assert answer.slices == ((10, 10), (11, 11), (6, 6))[across]
    assert set(changed[:, across]) <= {(10, 11, 6)[across]}


def test_memory_is_told_from_the_header_of_a_compressed_file(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((100, 200, 300), dtype=np.uint8))
    sitk.WriteImage(image, str(tmp_path / "a.mha"), useCompression=True)
    nib.save(nib.Nifti1Image(np.zeros((300, 200, 100), dtype=np.float64), np.eye(4)), tmp_path / "a.nii.gz")
    assert (tmp_path / "a.mha").stat().st_size < 100_000
    assert image_bytes(tmp_path / "a.mha") >= 8 * 6_000_000
    assert image_bytes(tmp_path / "a.nii.gz") >= 12 * 6_000_000
    (tmp_path / "b.mha").write_bytes(b"no image")
    assert image_bytes(tmp_path / "b.mha") == 0
