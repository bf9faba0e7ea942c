"""Real images for the learning benchmark: sites, their patients, and sites that really differ."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from monailabel_app.imaging.files import conform_mask, read_mask, read_volume
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap

__all__ = ["POLICIES", "Case", "Sites", "load_sites", "with_policy"]

_STEPS = 2


@dataclass(frozen=True)
class Case:
    """One patient: image and true mask (0 or 1) in the image's own grid."""

    name: str
    volume: Volume
    mask: Labelmap


Sites = dict[str, dict[str, list[Case]]]
"""Site -> part (``train``, ``val``, ``test``) -> cases, by name."""


def load_sites(folder: Path, chosen: set[str] | None = None) -> Sites:
    """Read ``<site>/images``, ``<site>/labels`` and ``split.csv`` (site, case, part).

    Args:
        folder: the data set.
        chosen: sites to read; all with a training part where left out.
    """
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    training = {row["site"] for row in rows if row["part"] == "train"}
    sites: Sites = {}
    for row in sorted(rows, key=lambda row: row["case"]):
        if row["site"] in (chosen or training):
            part = sites.setdefault(row["site"], {"train": [], "val": [], "test": []})
            part[row["part"]].append(_read(folder / row["site"], row["case"]))
    return sites


def _read(site: Path, case: str) -> Case:
    (image,) = (site / "images").glob(f"{case}.*")
    (label,) = (site / "labels").glob(f"{case}.*")
    volume = read_volume(image)
    mask = (conform_mask(read_mask(label), volume) > 0).astype(np.uint8)
    return Case(case, volume, mask)


def _in_plane(operation: Callable[..., Any]) -> Callable[[Labelmap], Labelmap]:
    cross = ndimage.generate_binary_structure(2, 1)[:, :, None]
    return lambda mask: np.asarray(operation(mask > 0, cross, iterations=_STEPS), dtype=np.uint8)


POLICIES: dict[str, Callable[[Labelmap], Labelmap]] = {
    "lgg": lambda mask: mask,
    "lgg-policy-wide": _in_plane(ndimage.binary_dilation),
    "lgg-policy-tight": _in_plane(ndimage.binary_erosion),
}
"""How a site draws the same outlines: as they are, or 2 pixels wider or tighter in every slice."""


def with_policy(cases: list[Case], setting: str) -> list[Case]:
    """The cases as a site of that policy would have outlined them."""
    return [Case(case.name, case.volume, POLICIES[setting](case.mask)) for case in cases]
