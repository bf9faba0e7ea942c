"""The intensity window of a session: the model's own, a CT preset, the header's, or two numbers.

A narrower window clips on purpose; the share of voxels that it clips is part of the answer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from monailabel_app.errors import ImageError, SiteError
from monailabel_app.imaging.intensity import Window, luminance, window_of
from monailabel_app.imaging.volume import Volume

__all__ = ["CT_PRESETS", "WindowRequest", "choose_window", "describe"]

CT_PRESETS: dict[str, tuple[float, float]] = {
    "abdomen": (-160.0, 240.0),
    "bone": (-450.0, 1050.0),
    "brain": (0.0, 80.0),
    "liver": (-45.0, 105.0),
    "lung": (-1350.0, 150.0),
    "mediastinum": (-125.0, 225.0),
}
"""Hounsfield units (lower, upper), from the customary centre and width of radiology workstations."""


class WindowRequest(BaseModel):
    """``window`` of a session.

    Attributes:
        mode: ``auto`` (the window that models are trained with), ``preset``, ``header`` or ``range``.
        preset: a name of :data:`CT_PRESETS`.
        low: lower intensity of a range.
        high: upper intensity of a range.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Literal["auto", "preset", "header", "range"] = "auto"
    preset: str | None = None
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> WindowRequest:
        if self.mode == "preset" and self.preset not in CT_PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}; choose one of {', '.join(CT_PRESETS)}")
        if self.mode == "range" and not (
            self.low is not None and self.high is not None and np.isfinite([self.low, self.high]).all()
        ):
            raise ValueError("a range needs finite numbers low and high")
        if self.mode == "range" and self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


def choose_window(volume: Volume, request: WindowRequest) -> Window:
    """The window of a session.

    Raises:
        SiteError: a preset for an image that is not CT, or any but ``auto`` for colour.
        ImageError: the header names no window.
    """
    automatic = window_of(volume)
    if request.mode == "auto":
        return automatic
    if volume.is_colour:
        raise SiteError("a colour image is shown as it is: it takes no window", "leave window out, or send mode auto")
    if request.mode == "preset":
        if automatic.kind != "ct":
            raise SiteError(
                f"preset {request.preset!r} is in Hounsfield units and this image does not look like CT",
                "use mode auto, header or range",
            )
        low, high = CT_PRESETS[request.preset or ""]
    elif request.mode == "header":
        low, high = _header_range(volume)
    else:
        assert request.low is not None
        assert request.high is not None
        low, high = request.low, request.high
    return _ranged(volume, automatic, low, high)


def describe(window: Window) -> dict[str, object]:
    """The window as replies report it: kind, curve, and the share of voxels it clips."""
    return {"kind": window.kind, "curve": [list(knot) for knot in window.curve], "clipped": round(window.clipped, 6)}


def _header_range(volume: Volume) -> tuple[float, float]:
    header = volume.nifti
    low, high = (float(header["cal_min"]), float(header["cal_max"])) if header is not None else (0.0, 0.0)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ImageError(
            "the image's header names no window (cal_min and cal_max are not set)", "use mode auto, preset or range"
        )
    return low, high


def _ranged(volume: Volume, automatic: Window, low: float, high: float) -> Window:
    values = luminance(volume.array).ravel()
    sample = values[:: max(1, values.size // 1_000_000)]
    clipped = float(((sample < low) | (sample > high)).mean())
    return Window(automatic.kind, ((low, 0.0), (high, 1.0)), clipped, automatic.mean, automatic.std)
