"""Reading data folders: what is found, and what is said when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fed_backend.demo.dataset import read_dataset
from fed_backend.demo.errors import DatasetError


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sites with four cases each and no split file."""
    for site in ("a", "b"):
        for case in range(4):
            label = np.zeros((6, 6, 3), np.uint8)
            label[2:4, 2:4, 1] = 1
            write(tmp_path / site / "images" / f"{site}{case}.nii.gz", np.ones((6, 6, 3), np.int16) * case)
            write(tmp_path / site / "labels" / f"{site}{case}.nii.gz", label)
    return tmp_path


def test_sites_are_found_or_chosen_in_the_given_order(folder: Path) -> None:
    assert [site.name for site in read_dataset(folder)] == ["a", "b"]
    assert [site.name for site in read_dataset(folder, ["b", "a"])] == ["b", "a"]


def test_without_a_split_file_every_part_is_drawn_the_same_way_again(folder: Path) -> None:
    drawn = [(case.name, case.part) for site in read_dataset(folder, seed=1) for case in site.cases]
    assert drawn == [(case.name, case.part) for site in read_dataset(folder, seed=1) for case in site.cases]
    assert sorted(part for name, part in drawn if name.startswith("a")) == ["test", "train", "train", "val"]


def test_a_split_file_decides_and_unseen_cases_are_left_out(folder: Path) -> None:
    (folder / "split.csv").write_text("site,case,part\na,a0,test\na,a1,train\na,a2,validation\na,a3,unseen\n")
    (site,) = read_dataset(folder, ["a"])
    assert {case.name: case.part for case in site.cases} == {"a0": "test", "a1": "train", "a2": "val"}


def remove_label(folder: Path) -> None:
    (folder / "a" / "labels" / "a2.nii.gz").unlink()


def truncate_image(folder: Path) -> None:
    path = folder / "a" / "images" / "a1.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


def no_nifti(folder: Path) -> None:
    (folder / "a" / "images" / "a1.nii.gz").write_bytes(b"hello")


def other_shape(folder: Path) -> None:
    write(folder / "a" / "labels" / "a0.nii.gz", np.zeros((6, 6, 4), np.uint8))


def other_value(folder: Path) -> None:
    write(folder / "a" / "labels" / "a0.nii.gz", np.full((6, 6, 3), 7, np.uint8))


def four_dimensions(folder: Path) -> None:
    write(folder / "a" / "images" / "a0.nii.gz", np.zeros((6, 6, 3, 2), np.int16))


def split_with_bad_part(folder: Path) -> None:
    (folder / "split.csv").write_text("site,case,part\na,a0,training\n")


def split_without_column(folder: Path) -> None:
    (folder / "split.csv").write_text("site,case\na,a0\n")


def split_misses_a_case(folder: Path) -> None:
    (folder / "split.csv").write_text("site,case,part\na,a0,train\na,a1,val\na,a2,test\n")


def split_without_test(folder: Path) -> None:
    (folder / "split.csv").write_text("site,case,part\na,a0,train\na,a1,val\na,a2,train\na,a3,train\n")


def nothing(folder: Path) -> None:
    """The folder is fine; only the arguments are wrong."""


@pytest.mark.parametrize(
    ("damage", "sites", "says", "advises"),
    [
        (remove_label, ["a"], "case a2 of site a has no label", "add a/labels/a2.nii.gz"),
        (truncate_image, ["a"], "image of case a1 of site a cannot be read", "replace a/images/a1.nii.gz"),
        (no_nifti, ["a"], "image of case a1 of site a cannot be read", "replace a/images/a1.nii.gz"),
        (other_shape, ["a"], r"shape \(6, 6, 3\), label has \(6, 6, 4\)", "grid of its image"),
        (other_value, ["a"], r"values \[7\]", "0 \\(background\\) and 1"),
        (four_dimensions, ["a"], "4 dimensions", "one 3D volume"),
        (split_with_bad_part, ["a"], "line 2: 'training'", "train, val or test"),
        (split_without_column, ["a"], "no column part", "site,case,part"),
        (split_misses_a_case, ["a"], "does not mention case a3 of site a", "add a line"),
        (split_without_test, ["a"], "site a has no case of part 'test'", "--sites"),
        (nothing, ["nowhere"], "no site 'nowhere'", "a, b"),
        (nothing, ["../a"], "no site '../a'", "a, b"),
    ],
)
def test_what_is_wrong_is_named_with_a_next_step(
    folder: Path, damage: Callable[[Path], None], sites: list[str], says: str, advises: str
) -> None:
    damage(folder)
    with pytest.raises(DatasetError, match=says) as caught:
        read_dataset(folder, sites)
    assert str(folder) not in str(caught.value), "no path of this machine in the message"
    with pytest.raises(DatasetError, match=advises):
        read_dataset(folder, sites)


def test_a_missing_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="holds no site"):
        read_dataset(tmp_path)


def test_real_images_are_read(shared_data: Path) -> None:
    sites = read_dataset(shared_data / "lgg-5site", ["CS"])
    assert {part: len(sites[0].part(part)) for part in ("train", "val", "test")} == {"train": 7, "val": 2, "test": 3}
