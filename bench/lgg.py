"""The hospitals of ``lgg-5site``: their patients, by part of the split."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monailabel_app.imaging.files import conform_mask, read_mask, read_volume
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap

__all__ = ["Patient", "Sites", "load"]


@dataclass(frozen=True)
class Patient:
    """One patient: image and true mask (0 or 1) in the image's own grid."""

    name: str
    volume: Volume
    mask: Labelmap


Sites = dict[str, dict[str, list[Patient]]]
"""Site -> part (``train``, ``val``, ``test``; ``unseen`` at a site that does not train) -> patients, by name."""


def load(folder: Path, *sites: str) -> Sites:
    """Read a data set.

    Args:
        folder: with ``<site>/images``, ``<site>/labels`` and ``split.csv`` (site, case, part).
        sites: those to read; all where left out.
    """
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["site"], row["case"]))
    found: Sites = {}
    for row in rows:
        if not sites or row["site"] in sites:
            found.setdefault(row["site"], {}).setdefault(row["part"], []).append(
                _read(folder / row["site"], row["case"])
            )
    return found


def _read(site: Path, case: str) -> Patient:
    (image,), (label,) = ((site / kind).glob(f"{case}.*") for kind in ("images", "labels"))
    volume = read_volume(image)
    return Patient(case, volume, (conform_mask(read_mask(label), volume) > 0).astype(np.uint8))
