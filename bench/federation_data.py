"""Images of several hospitals for the benchmark of federations."""

from __future__ import annotations

from pathlib import Path

from bench import lgg
from monailabel_app.federation.simulated import Case

__all__ = ["Part", "load"]

Part = dict[str, list[Case]]
"""Part of the split (``train``, ``val``, ``test``, ``unseen``) -> cases, by name."""


def load(folder: Path) -> dict[str, Part]:
    """Site -> part -> cases; see :func:`bench.lgg.load`."""
    return {
        site: {part: [(one.name, one.volume, one.mask) for one in patients] for part, patients in parts.items()}
        for site, parts in lgg.load(folder).items()
    }
