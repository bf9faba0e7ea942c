"""Dice and losses against plain definitions; augmentation keeps what it must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monailabel_app.learning.augment import augment, intensity, move, moves, places_after
from monailabel_app.learning.dice import dice
from monailabel_app.learning.losses import annotated_logits, binary_loss, class_loss, soft_dice
from monailabel_app.models.steps import may_mirror


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], 1.0),
        ([1, 1, 0], [0, 0, 0], 0.0),
        ([1, 1, 0], [1, 1, 0], 1.0),
        ([1, 1, 0, 0], [0, 1, 1, 0], 0.5),
        ([1, 1, 1, 0], [1, 0, 0, 0], 0.5),
    ],
)
def test_dice(a: list[int], b: list[int], expected: float) -> None:
    assert dice(np.array(a, dtype=bool), np.array(b, dtype=bool)) == pytest.approx(expected)


def test_dice_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="shapes"):
        dice(np.zeros(3, dtype=bool), np.zeros(4, dtype=bool))


def test_class_loss_is_cross_entropy_plus_dice() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(2, 3, 5, 4)))
    labels = torch.from_numpy(rng.integers(0, 3, (2, 5, 4)))
    target = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).double()
    p, t = torch.softmax(logits, 1).numpy(), target.numpy()
    expected = float(torch.nn.functional.cross_entropy(logits, labels)) + 1
    for c in (1, 2):
        expected -= (2 * (p[:, c] * t[:, c]).sum() + 1) / (p[:, c].sum() + t[:, c].sum() + 1) / 2
    assert float(class_loss(logits, target)) == pytest.approx(expected)


def test_binary_loss_is_cross_entropy_plus_dice_of_each_mask() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 6, 6)))
    target = torch.from_numpy((rng.random((3, 6, 6)) < 0.3).astype(float))
    p, t = torch.sigmoid(logits).numpy(), target.numpy()
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    overlap = [(2 * (x * y).sum() + 1) / (x.sum() + y.sum() + 1) for x, y in zip(p, t, strict=True)]
    assert float(binary_loss(logits, target)) == pytest.approx(entropy + 1 - np.mean(overlap))


def test_what_nobody_annotated_is_part_of_the_background() -> None:
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(size=(2, 4, 5)))
    unknown = torch.tensor([[False, False, True, True], [False, False, False, False]])
    p = torch.softmax(logits, 1)
    merged = torch.softmax(annotated_logits(logits, unknown), 1)
    assert torch.allclose(merged[0, 0], p[0, 0] + p[0, 2] + p[0, 3])
    assert torch.allclose(merged[0, 1], p[0, 1])
    assert not merged[0, 2:].any()
    assert torch.equal(merged[1], p[1])


def test_a_loss_says_nothing_about_where_an_unannotated_label_is() -> None:
    logits = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.tensor([[1.0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 0], [0] * 6])[None]
    loss = class_loss(annotated_logits(logits, torch.tensor([[False, False, True]])), target)
    (gradient,) = torch.autograd.grad(loss, logits)
    share = torch.softmax(logits[:, [0, 2]], 1)
    total = gradient[:, 0] + gradient[:, 2]
    assert torch.allclose(gradient[:, 2], share[:, 1] * total, atol=1e-7)  # as much as it is there already
    assert gradient.isfinite().all()


def test_losses_fall_towards_the_truth() -> None:
    target = torch.zeros(1, 2, 8, 8)
    target[:, 1, 2:5, 2:5] = 1
    target[:, 0] = 1 - target[:, 1]
    right, wrong = 20 * target - 10, 10 - 20 * target
    assert float(class_loss(right, target)) < 0.01 < float(class_loss(torch.zeros_like(target), target))
    assert float(class_loss(wrong, target)) > float(class_loss(torch.zeros_like(target), target))
    assert float(soft_dice(target[:, 1], target[:, 1], (0, 1, 2))) == pytest.approx(1)


def batch(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((3, 1, *(16,) * dims), dtype=np.float32))
    targets = torch.zeros(3, 3, *(16,) * dims)
    targets[:, 1, 4:9, 4:12] = 1
    targets[:, 2, 10:13, 4:12] = 1
    targets[:, 0] = 1 - targets[:, 1:].sum(1)
    return images, targets


@pytest.mark.parametrize("dims", [2, 3])
def test_augmented_targets_still_sum_to_one(dims: int) -> None:
    images, targets = augment(*batch(dims), np.random.default_rng(1), mirror=True)
    assert images.shape == batch(dims)[0].shape
    assert torch.isfinite(images).all()
    torch.testing.assert_close(targets.sum(1), torch.ones_like(targets[:, 0]))
    assert float(targets.min()) > -1e-5
    for label in (1, 2):
        assert float(targets[:, label].sum()) == pytest.approx(float(batch(dims)[1][:, label].sum()), rel=0.5)


def test_augmentation_is_seeded() -> None:
    first, again, other = (augment(*batch(2), np.random.default_rng(s), mirror=True)[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_image_and_target_move_together() -> None:
    _, targets = batch(2)
    theta = moves(len(targets), 2, np.random.default_rng(3), mirror=True)
    moved, moved_targets = move(targets[:, 1:2], targets, theta)
    torch.testing.assert_close(moved[:, 0], moved_targets[:, 1])


@pytest.mark.parametrize("seed", range(4))
def test_places_move_with_the_image(seed: int) -> None:
    theta = moves(1, 2, np.random.default_rng(seed), mirror=True)
    ((x, y),) = places_after(theta[0], np.array([[27.0, 38.0]]), 64)
    spot = torch.zeros(1, 1, 64, 64)
    spot[0, 0, 36:40, 25:29] = 1  # its middle is the corner that four pixels share
    moved = move(spot, torch.cat([1 - spot, spot], 1), theta)[0][0, 0]
    centres = torch.arange(64) + 0.5
    middle = [float((moved.sum(axis) * centres).sum() / moved.sum()) for axis in (0, 1)]
    assert middle == pytest.approx([x, y], abs=0.1)


def test_sides_are_not_exchanged_where_labels_name_them() -> None:
    assert may_mirror({"tumour": 1, "aright": 2})
    assert not may_mirror({"left-kidney": 1})
    assert not may_mirror({"lung_right": 1})
    ramp = torch.linspace(0, 1, 16).expand(8, 1, 16, 16).contiguous()
    targets = torch.cat([ramp, 1 - ramp], 1)
    for seed in range(5):
        moved, _ = move(ramp, targets, moves(len(ramp), 2, np.random.default_rng(seed), mirror=False))
        assert (moved[:, 0, 8, 12] > moved[:, 0, 8, 4]).all()


def test_intensity_keeps_padding_dark_and_positions() -> None:
    images = torch.zeros(2, 1, 16, 16)
    images[:, :, 4:8, 4:8] = 0.8
    varied = intensity(images, np.random.default_rng(0))
    assert float(varied[:, :, 10:].abs().mean()) < 0.1
    assert float(varied[:, :, 4:8, 4:8].mean()) > 0.4
