"""Real images for the learning benchmark: sites, their patients, and sites that really differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bench import lgg, nuclei
from bench.lgg import Patient as Case
from bench.lgg import Sites
from monailabel_app.models.base import Labelmap

__all__ = ["LABELS", "NUCLEI", "POLICIES", "Case", "Sites", "load_nuclei", "load_sites", "with_policy"]

NUCLEI = "nuclei"
"""The setting in which every site is another imaging domain."""
LABELS = {NUCLEI: "nucleus"}
_STEPS = 2


def load_nuclei(folder: Path) -> Sites:
    """The imaging domains; see :func:`bench.nuclei.load`."""
    return nuclei.load(folder)


def load_sites(folder: Path) -> Sites:
    """The sites with a training part; see :func:`bench.lgg.load`."""
    return {site: parts for site, parts in lgg.load(folder).items() if "train" in parts}


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
    """The cases as a site of that policy would have outlined them; in other settings as they are."""
    if setting not in POLICIES:
        return cases
    return [Case(case.name, case.volume, POLICIES[setting](case.mask)) for case in cases]
