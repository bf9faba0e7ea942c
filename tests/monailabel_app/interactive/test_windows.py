"""Windows: chosen as asked, reported as they are, never clipping in silence."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from monailabel_app.errors import ImageError, SiteError
from monailabel_app.imaging.volume import Volume
from monailabel_app.interactive.windows import WindowRequest, choose_window, describe

RNG = np.random.default_rng(0)
CT = Volume(RNG.uniform(-1000, 1500, (20, 20, 6)).astype(np.int16), np.eye(4))
MR = Volume(RNG.uniform(0, 700, (20, 20, 6)).astype(np.int16), np.eye(4))
COLOUR = Volume(RNG.integers(0, 255, (20, 20, 1, 3), dtype=np.uint8), np.eye(4), is_2d=True)


def test_automatic_windows_keep_nearly_everything() -> None:
    for volume, kind in ((CT, "ct"), (MR, "mr"), (COLOUR, "colour")):
        window = choose_window(volume, WindowRequest())
        assert window.kind == kind
        assert window.clipped < 0.02


def test_a_preset_clips_and_says_how_much() -> None:
    told = describe(choose_window(CT, WindowRequest(mode="preset", preset="abdomen")))
    assert told["curve"] == [[-160.0, 0.0], [240.0, 1.0]]
    outside = float(((CT.array < -160) | (CT.array > 240)).mean())
    assert told["clipped"] == pytest.approx(outside, abs=0.01)


def test_a_range_is_taken_as_it_is() -> None:
    window = choose_window(MR, WindowRequest(mode="range", low=100, high=200))
    assert np.allclose(window.unit(np.array([50.0, 100, 150, 200, 900])), [0, 0, 0.5, 1, 1])


def test_the_header_of_a_nifti_file_is_used_when_asked() -> None:
    header = nib.Nifti1Image(MR.array, MR.affine).header
    header["cal_min"], header["cal_max"] = 10, 300
    told = choose_window(Volume(MR.array, MR.affine, nifti=header), WindowRequest(mode="header"))
    assert told.curve == ((10.0, 0.0), (300.0, 1.0))
    with pytest.raises(ImageError, match="names no window"):
        choose_window(MR, WindowRequest(mode="header"))


@pytest.mark.parametrize(("volume", "words"), [(MR, "does not look like CT"), (COLOUR, "colour")])
def test_a_preset_is_for_ct(volume: Volume, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        choose_window(volume, WindowRequest(mode="preset", preset="lung"))


@pytest.mark.parametrize(
    "request_", [{"mode": "preset", "preset": "x"}, {"mode": "range", "low": 1}, {"mode": "range", "low": 2, "high": 1},
                 {"mode": "range", "low": float("nan"), "high": 1.0}, {"mode": "silent"}, {"gamma": 2}],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused(request_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WindowRequest.model_validate(request_)
