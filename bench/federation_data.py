"""Images of several hospitals, or of several imaging domains, for the benchmark of federations."""

from __future__ import annotations

from pathlib import Path

from bench import lgg, nuclei
from monailabel_app.federation.simulated import Case

__all__ = ["LABELS", "Part", "load"]

Part = dict[str, list[Case]]
"""Part of the split (``train``, ``val``, ``test``, ``unseen``) -> cases, by name."""
LABELS = {"lgg-5site": {"tumour": 1}, "nuclei-dsb2018": {"nucleus": 1}}
_LOADERS = {"lgg-5site": lgg.load, "nuclei-dsb2018": nuclei.load}


def load(folder: Path) -> dict[str, Part]:
    """Site -> part -> cases of a data set that is known by its folder's name."""
    return {
        site: {part: [(one.name, one.volume, one.mask) for one in patients] for part, patients in parts.items()}
        for site, parts in _LOADERS[folder.name](folder).items()
    }
