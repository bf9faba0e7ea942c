"""Distances between outlines: known shapes, real voxel sizes, empty masks."""

from __future__ import annotations

import numpy as np
import pytest
from monai.metrics.surface_distance import compute_average_surface_distance

from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.evaluate import measure_mask
from monailabel_app.learning.surface import is_real, surface_distance


def box(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((20, 20, 8), bool)
    mask[start:stop, 4:12, 2:6] = True
    return mask


def test_equal_masks_have_no_distance_and_empty_ones_no_outline() -> None:
    assert surface_distance(box(3, 9), box(3, 9), (1, 1, 3)) == 0
    assert surface_distance(box(3, 9), box(0, 0), (1, 1, 3)) is None
    assert surface_distance(box(0, 0), box(0, 0), (1, 1, 3)) is None


def test_parallel_planes_lie_their_distance_apart_in_millimetres() -> None:
    one, two = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    one[:, :, 2] = two[:, :, 5] = True
    assert surface_distance(one, two, (1, 1, 2.5)) == pytest.approx(7.5)


def test_agrees_with_monai_on_irregular_masks() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.random((20, 20, 8)) < 0.4) & box(3, 15), box(5, 13)
    spacing = (0.9, 0.9, 4.0)
    reference = compute_average_surface_distance(
        one[None, None], two[None, None], include_background=True, symmetric=True, spacing=spacing
    )
    # MONAI averages over the union of both borders too
    assert surface_distance(one, two, spacing) == pytest.approx(float(reference[0, 0]), rel=1e-4)


def test_unknown_voxel_sizes_give_no_millimetres() -> None:
    assert not is_real((1.0, 1.0, 1.0), False)
    assert not is_real((0.5, 0.5, 1.0), True)
    truth = box(3, 9).astype(np.uint8)
    for spacing, known in (((1.0, 1.0, 1.0), False), ((1.0, 1.0, 3.0), True)):
        volume = Volume(truth.astype(float), np.diag([*spacing, 1.0]))
        found = measure_mask(truth, truth, volume, {"t": 1})
        assert found.dice == {"t": 1.0}
        assert found.surface_mm == ({"t": 0.0} if known else {})
