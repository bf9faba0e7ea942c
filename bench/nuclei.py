"""The imaging domains of ``nuclei-dsb2018`` as sites: pictures with the mask of all nuclei.

The set comes without a split. Pictures of a domain are put in an order that depends on their names
alone, and dealt into test, validation and training.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.lgg import Patient, Sites
from monailabel_app.imaging.files import conform_mask, read_mask, read_volume
from monailabel_app.imaging.volume import Volume

__all__ = ["load"]

TEST, VALIDATION, TRAIN = 15, 6, 32
"""Pictures of a domain at most; a small domain gives a third to test and a sixth to validation."""


def load(folder: Path) -> Sites:
    """Domain -> part (``train``, ``val``, ``test``) -> pictures.

    Args:
        folder: with ``<domain>/images``, ``<domain>/labels`` and ``cases.csv`` (domain, id).
    """
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        names = defaultdict(list)
        for row in csv.DictReader(file):
            names[row["domain"]].append(row["id"])
    return {domain: _parts(folder / domain, found) for domain, found in sorted(names.items())}


def _parts(domain: Path, names: list[str]) -> dict[str, list[Patient]]:
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    test, validation = min(TEST, len(order) // 3), min(VALIDATION, len(order) // 6)
    dealt = {
        "test": order[:test],
        "val": order[test : test + validation],
        "train": order[test + validation :][:TRAIN],
    }
    return {part: [_read(domain, name) for name in sorted(chosen)] for part, chosen in dealt.items()}


def _read(domain: Path, name: str) -> Patient:
    volume = read_volume(domain / "images" / f"{name}.png")
    numbered = read_mask(domain / "labels" / f"{name}.png")  # one number a nucleus, hundreds of them
    mask = Volume((numbered.array > 0).astype(np.uint8), numbered.affine, numbered.is_2d)
    return Patient(name, volume, conform_mask(mask, volume))
