"""Where two masks differ."""

from __future__ import annotations

import numpy as np

from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.compare import compare, difference
from monailabel_app.models.base import Case


def test_a_difference_says_which_of_the_two_has_the_label() -> None:
    one = np.array([[[0, 1, 1, 1, 2]]], np.uint8)
    two = np.array([[[0, 1, 0, 2, 0]]], np.uint8)
    two[0, 0, 0] = 1
    assert difference(one, two).tolist() == [[[2, 0, 1, 3, 1]]]


def test_figures_of_two_masks_with_and_without_a_correction() -> None:
    one, two, truth = (np.zeros((4, 4, 4), np.uint8) for _ in range(3))
    one[:2], two[:3], truth[:3] = 1, 1, 1
    volume = Volume(np.zeros((4, 4, 4)), np.eye(4))
    found = compare(one, two, Case(volume, truth), volume, {"t": 1})
    assert found["agreement"] == {"t": 0.8}
    assert found["voxels"] == {"t": {"one": 32, "two": 48}}
    assert found["changed_voxels"] == 16
    assert found["dice"] == {"t": {"one": 0.8, "two": 1.0}}
    assert "dice" not in compare(one, two, None, volume, {"t": 1})
    partly = compare(one, two, Case(volume, truth, frozenset({1})), volume, {"t": 1, "u": 2})
    assert partly["dice"].keys() == {"t"}
