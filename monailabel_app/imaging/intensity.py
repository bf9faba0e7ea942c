"""The intensity window a network sees, chosen per volume and recorded.

MR has no absolute scale: the window runs between robust percentiles of the voxels that are not
air (a window over air changes with the field of view: one site had 58 % zeros). CT keeps its
Hounsfield scale through one fixed curve, steep over soft tissue and flatter over lung and bone, so
that nothing between air and 2000 HU is clipped; what lies beyond is counted, never hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from monailabel_app.imaging.volume import Array, Volume

__all__ = ["Window", "luminance", "window_of"]

Curve = tuple[tuple[float, float], ...]
Kind = Literal["mr", "ct", "2d", "colour"]
LOW, HIGH = 0.5, 99.5
AIR_SHARE = 0.1
"""Voxels below this share of the robust range are air."""
CT_AIR = -500.0
CT_CURVE = ((-1000.0, 0.0), (-200.0, 0.2), (300.0, 0.9), (2000.0, 1.0))
"""Hounsfield units -> shown intensity; the same for every scan, as the scale is absolute."""
MIN_TISSUE = 0.02
"""With less tissue than this, the air rule does not fit the image and all voxels count."""


@dataclass(frozen=True)
class Window:
    """How intensities became network input: a rising, piecewise linear curve onto 0..1.

    Attributes:
        kind: what the image was taken for.
        curve: (intensity, shown) knots; what lies outside the outer knots is clipped.
        clipped: share of the voxels that is.
        mean: mean of the windowed tissue voxels, 0..1.
        std: their standard deviation.
    """

    kind: Kind
    curve: Curve
    clipped: float
    mean: float
    std: float

    def unit(self, array: Array) -> npt.NDArray[np.float32]:
        """Intensities as 0..1."""
        return _shown(array, self.curve)

    def standard(self, array: Array) -> npt.NDArray[np.float32]:
        """Windowed intensities with mean 0 and deviation 1 over the tissue."""
        return (self.unit(array) - np.float32(self.mean)) / np.float32(self.std)


def luminance(array: Array) -> Array:
    """[..., 3] colour -> [...] grey by the Rec. 601 weights; grey stays as it is."""
    if array.ndim == 4:
        grey: Array = array.astype(np.float32) @ np.asarray((0.299, 0.587, 0.114), dtype=np.float32)
        return grey
    return array


def window_of(volume: Volume) -> Window:
    """The window of a volume, chosen from its own voxels; equal voxels give an equal window.

    Remembered while the volume lives, whose voxels never change: percentiles of a million voxels cost more
    than the masks of some slices.
    """
    window = _windows.get(volume)
    if window is None:
        window = _windows[volume] = _chosen(volume)
    return window


_windows: WeakKeyDictionary[Volume, Window] = WeakKeyDictionary()


def _chosen(volume: Volume) -> Window:
    step = max(1, int(np.prod(volume.shape)) // 1_000_000)
    # .flat goes through the voxels in order of [i, j, k], however they lie in memory
    sample = np.asarray(luminance(volume.array).flat[::step]).astype(np.float32)
    kind = _kind(volume, sample)
    tissue = _tissue(kind, sample)
    curve: Curve = CT_CURVE
    if kind != "ct":
        low, high = (0.0, 255.0) if kind == "colour" else map(float, np.percentile(tissue, (LOW, HIGH)))
        if kind == "mr":  # what is darker than tissue stays visible as darker
            low = min(low, float(np.percentile(sample, LOW)))
        curve = ((low, 0.0), (high if high > low else low + max(1.0, abs(low)), 1.0))
    clipped = float(((sample < curve[0][0]) | (sample > curve[-1][0])).mean())
    shown = _shown(tissue, curve)
    return Window(kind, curve, clipped, float(shown.mean()), max(float(shown.std()), 1e-3))


def _kind(volume: Volume, sample: Array) -> Kind:
    if volume.is_colour:
        return "colour"
    if volume.is_2d:
        return "2d"
    return "ct" if float(sample.min()) <= CT_AIR else "mr"


def _tissue(kind: Kind, sample: Array) -> Array:
    tissue = sample
    if kind == "ct":
        tissue = sample[sample > CT_AIR]
    elif kind == "mr":
        bottom, top = np.percentile(sample, (1.0, 99.8))
        tissue = sample[sample > bottom + AIR_SHARE * (top - bottom)]
    return sample if tissue.size < max(16, MIN_TISSUE * sample.size) else tissue


def _shown(array: Array, curve: Curve) -> npt.NDArray[np.float32]:
    if len(curve) > 2:
        at, to = zip(*curve, strict=True)
        return np.interp(array, at, to).astype(np.float32)
    (low, _), (high, _) = curve
    scaled = (array.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)
