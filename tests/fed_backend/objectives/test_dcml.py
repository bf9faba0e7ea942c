"""Contrast mutual learning: the region, the pull, the bounded push, and its limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fed_backend.objectives.dcml import contrast, masked_mean, region_of


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-6, atol=1e-9)


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student and teacher logits [2, 3, 12, 12], and classes with a small object."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn((2, 3, 12, 12), generator=generator, dtype=torch.float64) for _ in range(2))
    target = torch.zeros((2, 12, 12), dtype=torch.long)
    target[0, 5:7, 4:8] = 1
    target[1, 2, 2] = 2
    return student, teacher, target


def golden(
    student: np.ndarray, teacher: np.ndarray, target: np.ndarray, omega: np.ndarray, beta: float, m: float
) -> float:
    """Pixel by pixel, straight from the equation."""
    pull, push = [], []
    for b, i, j in itertools.product(*map(range, target.shape)):
        if not omega[b, i, j]:
            continue
        p, q = (np.exp(z[b, :, i, j]) / np.exp(z[b, :, i, j]).sum() for z in (teacher, student))
        kl = float((p * np.log(p / q)).sum())
        if teacher[b, :, i, j].argmax() == target[b, i, j]:
            pull.append(kl)
        else:
            push.append(min(kl, m))
    return (sum(pull) / len(pull) if pull else 0.0) - beta * (sum(push) / len(push) if push else 0.0)


@pytest.mark.parametrize("shape", [(1, 9, 11), (2, 7, 8, 9)])
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_the_region_is_the_dilated_foreground(shape: tuple[int, ...], radius: int) -> None:
    rng = np.random.default_rng(radius)
    target = (rng.random(shape) < 0.01) * rng.integers(1, 3, shape)
    want = np.zeros(shape, bool)
    for point in np.argwhere(target > 0):
        window = [slice(max(0, c - radius), c + radius + 1) for c in point[1:]]
        want[(point[0], *window)] = True
    np.testing.assert_array_equal(region_of(torch.from_numpy(target), radius).numpy(), want)


def test_the_region_of_nothing_is_nothing() -> None:
    assert not region_of(torch.zeros((1, 5, 5), dtype=torch.long)).any()
    with pytest.raises(ValueError, match="dilated by"):
        region_of(torch.zeros((5, 5)))


@pytest.mark.parametrize("beta", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("bound", [0.0, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("radius", [0, 3])
def test_contrast_is_the_equation(beta: float, bound: float, radius: int) -> None:
    student, teacher, target = scene()
    omega = region_of(target, radius)
    got = contrast(student, teacher, target, region=omega, beta=beta, bound=bound)
    want = golden(student.numpy(), teacher.numpy(), target.numpy(), omega.numpy(), beta, bound)
    assert got.item() == pytest.approx(want, abs=1e-12)


def test_without_a_push_it_is_regional_mutual_learning() -> None:
    student, teacher, target = scene()
    region = region_of(target)
    kl = F.kl_div(F.log_softmax(student, 1), F.softmax(teacher, 1), reduction="none").sum(1)
    right = region & (teacher.argmax(1) == target)
    assert_near(contrast(student, teacher, target, region=region, beta=0.0), kl[right].mean())
    taught = teacher.argmax(1)  # a teacher without mistakes: the whole region
    assert_near(contrast(student, teacher, taught, region=region, beta=0.0), kl[region].mean())
    assert_near(contrast(student, teacher, taught, region=region, beta=5.0), kl[region].mean())


def test_everywhere_it_is_plain_mutual_learning() -> None:
    student, teacher, _ = scene()
    flat = [z.movedim(1, -1).reshape(-1, 3) for z in (student, teacher)]
    plain = F.kl_div(F.log_softmax(flat[0], 1), F.softmax(flat[1], 1), reduction="batchmean")
    assert_near(contrast(student, teacher, teacher.argmax(1)), plain)
    everything = torch.ones((2, 12, 12), dtype=torch.bool)
    assert_near(contrast(student, teacher, teacher.argmax(1), region=everything), plain)


def test_it_pulls_where_the_teacher_is_right_and_pushes_where_it_is_wrong() -> None:
    teacher = torch.tensor([[[2.0, 2.0], [0.0, 0.0]]])  # [1, 2 classes, 2 pixels]: says class 0 twice
    target = torch.tensor([[0, 1]])  # right, wrong
    student = torch.zeros((1, 2, 2), requires_grad=True)
    contrast(student, teacher, target, beta=0.5).backward()
    descent = -student.grad[0, 0]  # change of the logit of class 0
    assert descent[0] > 0
    assert descent[1] < 0


def test_the_push_stops_at_its_bound() -> None:
    teacher, target = torch.tensor([[[2.0], [0.0]]]), torch.tensor([[1]])
    student = torch.zeros((1, 2, 1), requires_grad=True)
    for _ in range(200):
        loss = contrast(student, teacher, target, beta=1.0, bound=1.0)
        (gradient,) = torch.autograd.grad(loss, student)
        student = (student - 5.0 * gradient).detach().requires_grad_()
    assert loss.item() == -1.0
    assert gradient.abs().max() == 0
    assert student.abs().max() < 10


def test_an_empty_region_says_nothing() -> None:
    student, teacher, target = scene()
    student.requires_grad_()
    nothing = torch.zeros_like(target, dtype=torch.bool)
    value = contrast(student, teacher, target, region=nothing)
    value.backward()
    assert value.item() == 0
    assert not student.grad.any()
    assert masked_mean(torch.full((2,), torch.nan), torch.zeros(2, dtype=torch.bool)).item() == 0


def test_only_the_student_learns_and_roles_can_be_exchanged() -> None:
    own, visitor, target = scene()
    own.requires_grad_()
    visitor.requires_grad_()
    contrast(own, visitor, target).backward()
    assert own.grad is not None
    assert visitor.grad is None
    contrast(visitor, own, target).backward()
    assert visitor.grad.any()


def test_shapes_that_do_not_fit_are_refused() -> None:
    student, teacher, target = scene()
    for arguments in ((student, teacher, target[:1]), (student[:, :2], teacher, target)):
        with pytest.raises(ValueError, match="shape"):
            contrast(*arguments)
    with pytest.raises(ValueError, match="region"):
        contrast(student, teacher, target, region=region_of(target)[:, :3])
