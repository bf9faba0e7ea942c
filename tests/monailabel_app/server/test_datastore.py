"""The image list survives what happens to its files."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monailabel_app.errors import Conflict, NotFound

pytestmark = pytest.mark.slow  # imports MONAI Label


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    studies = tmp_path / "studies"
    studies.mkdir()
    for name in ("b.nii.gz", "a.nrrd", "c.png", "notes.txt"):
        (studies / name).write_bytes(b"x")
    return studies, tmp_path / "index"


def open_store(folders: tuple[Path, Path]) -> Any:
    from monailabel_app.datastore import SiteDatastore

    return SiteDatastore(*folders, (".nii.gz", ".nii", ".nrrd", ".png"))


def test_images_are_listed_and_the_studies_folder_stays_untouched(folders: tuple[Path, Path]) -> None:
    store = open_store(folders)
    assert sorted(store.list_images()) == ["a", "b", "c"]
    assert store.status()["total"] == 3
    assert sorted(p.name for p in folders[0].iterdir()) == ["a.nrrd", "b.nii.gz", "c.png", "notes.txt"]


def test_nothing_it_tells_names_a_folder_of_the_server(folders: tuple[Path, Path], tmp_path: Path) -> None:
    store = open_store(folders)
    (tmp_path / "m.nii.gz").write_bytes(b"mask")
    store.save_label("a", str(tmp_path / "m.nii.gz"), "final", {})
    assert store.datalist() == [{"image": "a.nrrd", "label": "a.nii.gz"}]
    assert str(tmp_path) not in json.dumps([store.json(), store.status(), store.datalist()])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 3}', b"\x00\xff"])
def test_a_damaged_index_is_made_again(folders: tuple[Path, Path], content: bytes, tmp_path: Path) -> None:
    store = open_store(folders)
    (tmp_path / "m.nii.gz").write_bytes(b"mask")
    store.save_label("a", str(tmp_path / "m.nii.gz"), "final", {"note": "lost"})
    (folders[1] / "datastore_v2.json").write_bytes(content)
    again = open_store(folders)
    assert sorted(again.list_images()) == ["a", "b", "c"]
    assert again.label_path_of("a", "final").read_bytes() == b"mask"


def test_the_studies_folder_may_move(folders: tuple[Path, Path], tmp_path: Path) -> None:
    open_store(folders)
    moved = folders[0].rename(tmp_path / "elsewhere")
    assert open_store((moved, folders[1])).path_of("a") == moved / "a.nrrd"


def test_new_and_removed_images_are_noticed(folders: tuple[Path, Path]) -> None:
    store = open_store(folders)
    store.rescan()
    (folders[0] / "d.nii.gz").write_bytes(b"x")
    assert store.path_of("d").name == "d.nii.gz"
    (folders[0] / "d.nii.gz").unlink()
    with pytest.raises(NotFound):
        store.path_of("d")
    assert store.status()["total"] == 3


def test_an_image_is_added_once(folders: tuple[Path, Path], tmp_path: Path) -> None:
    store = open_store(folders)
    upload = tmp_path / "upload.nii.gz"
    upload.write_bytes(b"new")
    assert store.add_image("d", str(upload), {"by": "ann"}) == "d"
    assert store.path_of("d").read_bytes() == b"new"
    assert store.get_image_info("d")["by"] == "ann"
    with pytest.raises(Conflict):
        store.add_image("d", str(upload), {})
    assert [p for p in folders[0].iterdir() if p.name.startswith(".")] == []


def test_removing_an_image_removes_its_labels(folders: tuple[Path, Path], tmp_path: Path) -> None:
    store = open_store(folders)
    (tmp_path / "m.nii.gz").write_bytes(b"mask")
    store.save_label("a", str(tmp_path / "m.nii.gz"), "final", {})
    store.remove_image("a")
    with pytest.raises(NotFound):
        store.label_path_of("a", "final")
    assert store.status() == {"total": 2, "completed": 0, "label_tags": {}}


def test_the_dataset_leaves_out_images_that_are_gone_and_a_failure_leaves_no_file(
    fresh_site: Any, tmp_path: Path
) -> None:
    site = fresh_site
    for case in ("ras", "lps", "thick"):
        mask, image = tmp_path / "mask.nii.gz", nib.load(site.studies / f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), mask)
        assert site.save(case, mask).status_code == 200
    (site.studies / "lps.nii.gz").unlink()
    for _ in range(2):  # the second time, the image list knows that it is gone
        got = site.get("/datastore/dataset")
        assert got.status_code == 200, got.text
        pack = zipfile.ZipFile(io.BytesIO(got.content))
        kept = {f"{kind}/{case}.nii.gz" for kind in ("image", "label") for case in ("ras", "thick")}
        assert set(pack.namelist()) == {*kept, "left-out.txt"}
        assert pack.read("left-out.txt") == b"lps: its image is gone\n"
    resource = pytest.importorskip("resource")
    limit = len(got.content) // 2  # as on a disk that is full
    resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    assert site.get("/datastore/dataset").status_code == 500
    resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert list((site.state / "incoming").iterdir()) == []
