"""Builds what serves prompts out of the site's parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from monailabel_app.inference.embeddings.disk import DiskStore
from monailabel_app.interactive.desk import SessionDesk
from monailabel_app.interactive.engine import Engine
from monailabel_app.models.base import Segmenter
from monailabel_app.models.heap import keep_freed_memory
from monailabel_app.state.site import SiteState

__all__ = ["EMBEDDINGS", "build_desk"]

_SWITCH_S = 0.0005
"""Seconds until a Python thread that computes lets another go on. With Python's 0.005 every step of an
answer (accept, read, compute, send) waits that long behind the encoder: median of /info/ 4.2 ms, not 1.4."""

EMBEDDINGS = "embeddings"
"""Folder of stored features, inside the state folder."""


def build_desk(
    segmenters: Mapping[str, Segmenter],
    state: SiteState,
    path_of: Callable[[str], Path],
    labels: Mapping[str, int],
    features_limit: int,
    device: str = "cpu",
) -> SessionDesk:
    """A desk over every model of the site that takes prompts.

    Args:
        segmenters: the site's models; they are read, never changed.
        state: records and versions.
        path_of: file of a known case.
        labels: label name -> voxel value.
        features_limit: bytes of features on disk.
        device: where prompts are answered: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        Unavailable: a GPU was asked for by name, and there is none.
    """
    from monailabel_app.models.device import choose_device, fastest_numeric
    from monailabel_app.models.sam import SamSegmenter  # torch: seconds

    promptable = {name: one for name, one in segmenters.items() if isinstance(one, SamSegmenter)}
    disk = DiskStore(state.folder / EMBEDDINGS, features_limit) if promptable else None
    if promptable:
        sys.setswitchinterval(_SWITCH_S)
        keep_freed_memory()
    place = choose_device(device)
    numeric = fastest_numeric(place)
    engines = {
        name: Engine(name, one, state.versions(name), disk, numeric=numeric, device=place)
        for name, one in promptable.items()
    }
    return SessionDesk(engines, state.prompts, path_of, labels)
