"""Images of several hospitals for the benchmark of federations."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from monailabel_app.federation.simulated import Case
from monailabel_app.imaging.files import conform_mask, read_mask, read_volume

__all__ = ["Part", "load"]

Part = dict[str, list[Case]]
"""Part of the split (``train``, ``val``, ``test``, ``unseen``) -> cases, by name."""


def load(folder: Path) -> dict[str, Part]:
    """Site -> part -> cases.

    Args:
        folder: with ``<site>/images``, ``<site>/labels`` and ``split.csv`` (site, case, part).
    """
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["site"], row["case"]))
    sites: dict[str, Part] = {}
    for row in rows:
        sites.setdefault(row["site"], {}).setdefault(row["part"], []).append(_read(folder / row["site"], row["case"]))
    return sites


def _read(site: Path, case: str) -> Case:
    (image,), (label,) = ((site / kind).glob(f"{case}.*") for kind in ("images", "labels"))
    volume = read_volume(image)
    return case, volume, (conform_mask(read_mask(label), volume) > 0).astype(np.uint8)
