"""Slices keep their aspect on the network's square, and masks come back where they belong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.dice import dice
from monailabel_app.models.embeddings import EmbeddingCache
from monailabel_app.models.sampling import balanced
from monailabel_app.models.slices import Example, Fit, Slices, one_hot


@pytest.mark.parametrize(
    ("source", "spacing", "scaled"),
    [
        ((256, 256), (1.0, 1.0), (64, 64)),
        ((256, 128), (1.0, 1.0), (64, 32)),
        ((128, 256), (2.0, 1.0), (64, 64)),
        ((20, 20), (0.5, 0.5), (64, 64)),
        ((1, 500), (1.0, 1.0), (1, 64)),
    ],
)
def test_aspect_is_kept_in_millimetres(
    source: tuple[int, int], spacing: tuple[float, float], scaled: tuple[int, int]
) -> None:
    assert Fit.of(source, spacing, 64, centred=True).scaled == scaled


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("source", [(50, 80), (80, 50), (300, 290), (64, 64)])
def test_a_mask_survives_the_way_there_and_back(source: tuple[int, int], centred: bool) -> None:
    rows, columns = np.mgrid[: source[0], : source[1]]
    truth = np.hypot(rows - source[0] * 0.6, columns - source[1] * 0.3) < 0.2 * min(source)
    fit = Fit.of(source, (1.0, 1.0), 64, centred=centred)
    shown = fit.shrink(torch.from_numpy(truth.astype(np.float32))[None, None])
    assert shown.shape == (1, 1, 64, 64)
    back = fit.expand(shown)[0, 0].numpy() > 0.5
    assert dice(back, truth) > 0.97


def test_points_land_where_their_pixels_do() -> None:
    fit = Fit.of((50, 80), (1.0, 1.0), 64, centred=True)
    image = torch.zeros(1, 1, 50, 80)
    image[0, 0, 30, 60] = 1
    y, x = np.unravel_index(int(fit.shrink(image)[0, 0].argmax()), (64, 64))
    at = fit.point(30.5, 60.5)
    assert abs(at[0] - (x + 0.5)) < 1
    assert abs(at[1] - (y + 0.5)) < 1


def labelled() -> Example:
    labels = np.zeros((20, 30, 12), dtype=np.uint8)
    labels[5:9, 5:9, 3] = 1
    labels[4:15, 4:25, 6:11] = 2
    volume = Volume(np.random.default_rng(0).normal(100, 9, labels.shape), np.diag([1.0, 1, 5, 1]))
    return Example(Slices(volume, 32), labels, [1, 2])


def test_targets_are_shares_that_sum_to_one() -> None:
    _, target = labelled().draw(7)
    assert target.shape == (3, 32, 32)
    torch.testing.assert_close(target.sum(dim=0), torch.ones(32, 32))
    assert float(target[2].sum()) == pytest.approx(11 * 21 * (32 / 30) ** 2, rel=0.02)


def test_rare_labels_are_drawn() -> None:
    drawn = [index for _, index in balanced([labelled()], 600, np.random.default_rng(0))]
    assert drawn.count(3) > 150  # one of twelve slices, yet a third of two thirds
    assert len(set(drawn)) == 12


def test_one_hot() -> None:
    hot = one_hot(np.array([[[0, 1], [7, 3]]], dtype=np.uint8), [1, 7])
    assert hot.tolist() == [[[[1, 0], [0, 1]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]]]


def test_cache_drops_what_was_used_longest_ago() -> None:
    cache = EmbeddingCache(limit=3 * 400)
    for index in range(3):
        cache.put(("volume", index), torch.full((100,), float(index)))
    cache.get(("volume", 0))
    cache.put(("volume", 3), torch.zeros(100))
    assert ("volume", 0) in cache
    assert ("volume", 1) not in cache
    assert len(cache) == 3
