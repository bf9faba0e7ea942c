"""The open case in Slicer's scene; the only folder of the library that imports ``slicer``.

Coordinates: arrays [k, j, i]; affines voxel (i, j, k) -> RAS millimetres; world = RAS after all transforms.
"""

from .canvas import Canvas
from .case import SceneCase, SlicerScene
from .pointers import SCRIBBLES, Pointer

__all__ = ["SCRIBBLES", "Canvas", "Pointer", "SceneCase", "SlicerScene"]
