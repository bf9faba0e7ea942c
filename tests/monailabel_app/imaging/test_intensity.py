"""The window follows the tissue, not the air, and clips nothing unseen."""

from __future__ import annotations

import numpy as np
import pytest

from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.volume import Volume


def tissue(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(300, 60, (30, 30, 10)).astype(np.float32)


@pytest.mark.parametrize("pad", [5, 15, 30])
def test_air_around_the_head_does_not_move_the_window(pad: int) -> None:
    inner = window_of(Volume(tissue(), np.eye(4)))
    padded = window_of(Volume(np.pad(tissue(), ((pad, pad), (pad, pad), (0, 0))), np.eye(4)))
    assert padded.curve[-1][0] == pytest.approx(inner.curve[-1][0], rel=0.02)
    # air pulls the low end of the window down, but tissue is standardised as tissue
    shown = padded.standard(np.pad(tissue(), pad)[pad:-pad, pad:-pad, pad:-pad])
    assert float(shown.mean()) == pytest.approx(0, abs=0.05)
    assert float(shown.std()) == pytest.approx(1, abs=0.05)


def test_scanner_gain_cancels() -> None:
    one, ten = window_of(Volume(tissue(), np.eye(4))), window_of(Volume(tissue() * 10, np.eye(4)))
    np.testing.assert_allclose(one.standard(tissue()), ten.standard(tissue() * 10), atol=1e-3)


def test_ct_keeps_lung_bone_and_soft_tissue_apart() -> None:
    array = np.full((20, 20, 20), -1000, dtype=np.int16)
    array[4:16, 4:16] = 40
    array[5:8, 5:8] = -800
    array[10:12, 10:12] = 1200
    array[0, 0, :4] = 3000
    window = window_of(Volume(array, np.eye(4)))
    assert window.kind == "ct"
    air, lung, water, fat, bone = window.unit(np.array([-1000, -800, 0, -100, 1200]))
    assert 0 <= air < lung < fat < water < bone < 1
    assert window.clipped == pytest.approx(4 / array.size)


def test_colour_and_pictures() -> None:
    colour = np.random.default_rng(0).integers(0, 255, (9, 9, 1, 3)).astype(np.uint8)
    assert window_of(Volume(colour, np.eye(4), is_2d=True)).kind == "colour"
    assert window_of(Volume(colour[..., 0], np.eye(4), is_2d=True)).kind == "2d"


def test_constant_image_has_a_window() -> None:
    window = window_of(Volume(np.full((5, 5, 5), 7, dtype=np.uint8), np.eye(4)))
    assert np.isfinite(window.standard(np.full(3, 7))).all()
