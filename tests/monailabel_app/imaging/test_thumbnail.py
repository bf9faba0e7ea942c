"""Small pictures of images: upright, in true proportions, of every kind of volume."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from monailabel_app.imaging.thumbnail import thumbnail
from monailabel_app.imaging.volume import Volume


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(("spacing", "size"), [((1, 1, 5), (48, 64)), ((2, 1, 5), (64, 43))])
def test_proportions_are_those_of_the_body(spacing: tuple[int, int, int], size: tuple[int, int]) -> None:
    array = np.random.default_rng(0).normal(100, 20, (30, 40, 6))
    picture = opened(thumbnail(Volume(array, np.diag([*spacing, 1.0])), 64))
    assert picture.format == "PNG"
    assert max(picture.size) == 64
    assert picture.size == size


def test_a_bright_lesion_is_seen_where_it_is() -> None:
    array = np.random.default_rng(0).normal(100, 5, (40, 40, 5))
    array[30:38, 30:38, 2] = 400  # right, anterior in RAS: on the left of the picture, at its top
    grey = np.asarray(opened(thumbnail(Volume(array, np.diag([1.0, 1.0, 4.0, 1.0])), 40)))
    row, column = np.unravel_index(int(grey.argmax()), grey.shape)
    assert (row < 20, column < 20) == (True, True)


def test_colour_stays_colour() -> None:
    array = np.zeros((20, 10, 1, 3), np.uint8)
    array[..., 0] = 200
    picture = opened(thumbnail(Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True), 32))
    assert picture.mode == "RGB"
    assert picture.getpixel((5, 5)) == (200, 0, 0)
