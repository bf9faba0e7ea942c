"""The generated sites: the same for the same seed, different from each other, and not solved by a threshold."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fed_backend.demo.baseline import threshold_baseline
from fed_backend.demo.dataset import read_dataset
from fed_backend.demo.errors import DatasetError
from fed_backend.demo.generator import SCANNERS, make_case, parts, site_grid, write_dataset


def test_equal_seeds_give_equal_files_and_another_seed_gives_other_patients(tmp_path: Path) -> None:
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_dataset(tmp_path / folder, seed=seed, cases=3)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.nii.gz"))
    assert len(files) == len(SCANNERS) * 3 * 2

    def voxels(folder: str) -> list[bytes]:
        return [np.asarray(nib.load(tmp_path / folder / name).dataobj).tobytes() for name in files]

    assert voxels("a") == voxels("b")
    assert (tmp_path / "a" / "split.csv").read_bytes() == (tmp_path / "b" / "split.csv").read_bytes()
    assert all(one != other for one, other in zip(voxels("a"), voxels("c"), strict=True))


def test_a_site_does_not_depend_on_which_others_are_generated(tmp_path: Path) -> None:
    write_dataset(tmp_path, seed=0, scanners=SCANNERS[1:2], cases=3)
    name = SCANNERS[1].name
    alone = np.asarray(nib.load(tmp_path / name / "images" / f"{name}-00.nii.gz").dataobj)
    np.testing.assert_array_equal(alone, make_case(SCANNERS[1], 0, seed=0).image)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_global_threshold_solves_it(seed: int) -> None:
    training, test = [], []
    for scanner in SCANNERS:
        for index, part in enumerate(parts(12)):
            case = make_case(scanner, index, seed)
            (training if part == "train" else test).append((case.image, case.label))
    threshold, score = threshold_baseline(training, test)
    assert 0.0 < threshold < 1.0
    assert 0.1 < score < 0.6


def test_every_case_has_one_lesion_of_a_plausible_size_away_from_the_border() -> None:
    for scanner in SCANNERS:
        for index in range(6):
            case = make_case(scanner, index, seed=3)
            voxel_ml = abs(np.linalg.det(case.affine[:3, :3])) / 1000
            assert 3 < case.label.sum() * voxel_ml < 120
            assert case.label.any(axis=(0, 1)).sum() >= 3, "the lesion spans several slices"
            assert not case.label[[0, -1]].any()
            assert not case.label[:, [0, -1]].any()


def test_sites_differ_in_orientation_spacing_and_intensity() -> None:
    affines = [site_grid(scanner).affine for scanner in SCANNERS]
    codes = ["".join(nib.aff2axcodes(affine)) for affine in affines]
    assert codes == ["RAS", "LPS", "LAS"]
    assert np.linalg.det(affines[2][:3, :3]) < 0, "one site is stored mirrored"
    oblique = [bool(np.any(nib.affines.obliquity(affine) > 1e-3)) for affine in affines]
    assert oblique == [False, False, True]
    spacings = {tuple(np.round(nib.affines.voxel_sizes(affine), 2)) for affine in affines}
    assert len(spacings) == len(SCANNERS)
    assert all(max(spacing) > 3 * min(spacing) for spacing in spacings), "slices are thick"
    means = [float(make_case(scanner, 0, 0).image.mean()) for scanner in SCANNERS]
    assert max(means) > 3 * min(means)


def test_the_split_file_and_the_reader_agree(tmp_path: Path) -> None:
    write_dataset(tmp_path, seed=0, cases=4, scanners=SCANNERS[:1])
    with (tmp_path / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["part"] for row in rows] == ["train", "train", "val", "test"]
    (site,) = read_dataset(tmp_path)
    assert [case.part for case in site.cases] == [row["part"] for row in rows]


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(DatasetError, match="2 cases"):
        parts(2)
