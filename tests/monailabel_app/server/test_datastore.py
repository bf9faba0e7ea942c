"""The image list survives what happens to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
