"""Reading ``DIR/<site>/images/*.nii.gz``, ``DIR/<site>/labels/*.nii.gz`` and an optional ``DIR/split.csv``.

Everything is checked before the first process starts: a missing label or a damaged file should cost
a second and a clear sentence, not a run that fails halfway.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError

from fed_backend.demo.errors import DatasetError
from fed_backend.plan import SITE_NAME

__all__ = ["LABELS", "Case", "SiteData", "part_sizes", "read_dataset", "read_pair"]

SUFFIX = ".nii.gz"
LABELS = {"tumour": 1}
"""The label schema of the demonstration."""

PARTS = {"train": "train", "val": "val", "validation": "val", "test": "test", "holdout": "test", "unseen": None}
"""Accepted words in ``split.csv``; cases of part ``unseen`` are left out."""


@dataclass(frozen=True)
class Case:
    """One patient: its site, name, part (``train``, ``val`` or ``test``) and two files."""

    site: str
    name: str
    part: str
    image: Path
    label: Path


@dataclass(frozen=True)
class SiteData:
    """The cases of one site, sorted by name."""

    name: str
    cases: tuple[Case, ...]

    def part(self, *names: str) -> list[Case]:
        """Cases whose part is one of ``names``."""
        return [case for case in self.cases if case.part in names]


def read_pair(case: Case) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.uint8]]:
    """Image and label of a case, [i, j, k] in the storage order of the image.

    Raises:
        DatasetError: a file cannot be read, the shapes differ, or the label holds other values than 0 and 1.
    """
    image, label = _load(case, case.image, "image"), _load(case, case.label, "label")
    if image.shape != label.shape:
        raise DatasetError(
            f"case {case.name} of site {case.site}: image has shape {image.shape}, label has {label.shape}",
            "export the label on the grid of its image",
        )
    foreign = sorted(set(np.unique(label).tolist()) - {0, *LABELS.values()})
    if foreign:
        raise DatasetError(
            f"label of case {case.name} of site {case.site} holds the values {foreign[:5]}",
            "labels must hold 0 (background) and 1 (tumour) only",
        )
    return image, label.astype(np.uint8)


def _load(case: Case, path: Path, kind: str) -> npt.NDArray[np.generic]:
    try:
        array = np.asarray(nib.load(path).dataobj)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        reason = str(error).replace(str(path), path.name).splitlines() or [type(error).__name__]
        raise DatasetError(
            f"{kind} of case {case.name} of site {case.site} cannot be read: {reason[0]}",
            f"replace {case.site}/{kind}s/{path.name} by a valid NIfTI file, or remove the case",
        ) from None
    if array.ndim != 3:
        raise DatasetError(
            f"{kind} of case {case.name} of site {case.site} has {array.ndim} dimensions",
            "store one 3D volume per file",
        )
    return array


def read_dataset(folder: Path, sites: Sequence[str] = (), *, seed: int = 0) -> list[SiteData]:
    """List the cases of a data folder and check every file.

    Args:
        folder: the data folder.
        sites: sites to use, in this order; empty means every sub-folder that has an ``images`` folder.
        seed: draws the split of sites that ``split.csv`` does not mention, or of all without that file.

    Raises:
        DatasetError: something is missing or unreadable; says what, which one, and what to do.
    """
    if not folder.is_dir():
        raise DatasetError(f"data folder {folder.name!r} does not exist", "check the path given with --data")
    names = list(dict.fromkeys(sites)) or _found_sites(folder)
    split = _read_split(folder / "split.csv")
    found = [_read_site(folder, name, split, seed) for name in names]
    for site in found:
        for case in site.cases:
            read_pair(case)
    return found


def _found_sites(folder: Path) -> list[str]:
    names = sorted(path.parent.name for path in folder.glob("*/images") if path.is_dir())
    if not names:
        raise DatasetError(
            f"data folder {folder.name!r} holds no site",
            "store volumes as SITE/images/CASE.nii.gz and SITE/labels/CASE.nii.gz",
        )
    return names


def _read_split(path: Path) -> dict[tuple[str, str], str | None]:
    """(site, case) -> part, ``None`` for cases to leave out; empty without the file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = {"site", "case", "part"} - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(
                f"{path.name} has no column {', '.join(sorted(missing))}", "its first line must be site,case,part"
            )
        split: dict[tuple[str, str], str | None] = {}
        for row in reader:
            if row["part"] not in PARTS:
                raise DatasetError(
                    f"{path.name} line {reader.line_num}: {row['part']!r} is no part of a split",
                    "write train, val or test",
                )
            split[row["site"], row["case"]] = PARTS[row["part"]]
    return split


def _read_site(folder: Path, name: str, split: dict[tuple[str, str], str | None], seed: int) -> SiteData:
    if not SITE_NAME.match(name) or not (folder / name / "images").is_dir():
        known = ", ".join(_found_sites(folder))
        raise DatasetError(f"there is no site {name!r} in {folder.name}", f"choose --sites from: {known}")
    images = {path.name.removesuffix(SUFFIX): path for path in sorted((folder / name / "images").glob(f"*{SUFFIX}"))}
    if not images:
        raise DatasetError(f"site {name} holds no image", f"store volumes as {name}/images/CASE.nii.gz")
    chosen = _parts(name, list(images), split, seed)
    cases = []
    for case, part in chosen.items():
        label = folder / name / "labels" / f"{case}{SUFFIX}"
        if not label.is_file():
            raise DatasetError(
                f"case {case} of site {name} has no label", f"add {name}/labels/{label.name}, or remove the image"
            )
        cases.append(Case(name, case, part, images[case], label))
    for part, why in (("train", "learn from"), ("val", "judge new versions by"), ("test", "report on")):
        if not any(case.part == part for case in cases):
            raise DatasetError(
                f"site {name} has no case of part {part!r}, to {why}",
                "correct split.csv, or leave the site out with --sites",
            )
    return SiteData(name, tuple(cases))


def part_sizes(cases: int) -> tuple[int, int]:
    """How many of ``cases`` patients validate and test: two of seven (a gate tests from four on), and a quarter."""
    return max(1, cases * 2 // 7), max(1, cases // 4)


def _parts(site: str, cases: list[str], split: dict[tuple[str, str], str | None], seed: int) -> dict[str, str]:
    """Case -> part, from the split file where it mentions the site, else drawn."""
    if any(mentioned == site for mentioned, _ in split):
        absent = [case for case in cases if (site, case) not in split]
        if absent:
            raise DatasetError(
                f"split.csv does not mention case {absent[0]} of site {site}", "add a line for it: site,case,part"
            )
        return {case: part for case in cases if (part := split[site, case]) is not None}
    order = np.random.default_rng([seed, *site.encode()]).permutation(len(cases))
    val, test = part_sizes(len(cases))
    drawn = {cases[n]: "test" if r < test else "val" if r < test + val else "train" for r, n in enumerate(order)}
    return {case: drawn[case] for case in cases}
