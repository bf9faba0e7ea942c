"""Slicer's slice views: which of the image's axes a view looks along."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from ..live.trail import World
from .pointers import world_to_ijk
from .volumes import as_array, ijk_to_ras

_SAME_PLANE = 0.01
"""Millimetres: what is placed in a view lies on its plane but for rounding."""


def view_axis(volume: Any, world: World) -> str:
    """The image axis across which the slices of the view through ``world`` lie.

    What a person places lies in the plane of the view it was placed in. Where several views meet in that point (the
    crosshair), the one whose slices are the image's own, thickest ones is meant.

    Returns:
        "i", "j" or "k"; "" when the scene has no slice view.
    """
    spacing = np.linalg.norm(as_array(ijk_to_ras(volume))[:3, :3], axis=0)
    best: tuple[float, float, str] | None = None
    for position in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        matrix = as_array(slicer.mrmlScene.GetNthNodeByClass(position, "vtkMRMLSliceNode").GetSliceToRAS())
        normal, origin = matrix[:3, 2], matrix[:3, 3]
        distance = abs(float(normal @ (np.asarray(world) - origin)))
        axis = _axis_along(volume, world, normal, spacing)
        rank = (distance if distance > _SAME_PLANE else 0.0, -float(spacing[axis]), "ijk"[axis])
        if best is None or rank < best:
            best = rank
    return best[2] if best is not None else ""


def _axis_along(volume: Any, world: World, normal: Any, spacing: Any) -> int:
    """The image axis nearest to a direction of the world, at a place (transforms may bend)."""
    to_ijk = world_to_ijk(volume)
    step = np.asarray(to_ijk(np.asarray(world) + normal)) - np.asarray(to_ijk(world))
    return int(np.argmax(np.abs(step * spacing)))
