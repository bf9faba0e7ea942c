"""Proximal pull, divergence and distillation, against plain numpy and against their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fed_backend.objectives.distillation import distillation
from fed_backend.objectives.divergence import as_classes, kl_map
from fed_backend.objectives.proximal import proximal_pull


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-6, atol=1e-9)


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_kl(reference: np.ndarray, other: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    def shares(z: np.ndarray) -> np.ndarray:
        e = np.exp(z / temperature)
        return e / e.sum(axis=1, keepdims=True)

    p, q = shares(reference), shares(other)
    return (p * np.log(p / q)).sum(axis=1)


def test_proximal_pull_and_its_gradient() -> None:
    w = {"a": torch.tensor([1.0, 2.0], requires_grad=True), "b": torch.tensor([[3.0]], requires_grad=True)}
    start = {"a": torch.tensor([0.0, 4.0]), "b": torch.tensor([[3.5]])}
    value = proximal_pull(w, start, 0.2)
    assert value.item() == pytest.approx(0.1 * (1 + 4 + 0.25))
    value.backward()
    assert_near(w["a"].grad, 0.2 * (w["a"] - start["a"]).detach())
    assert proximal_pull(w, start, 0.0).item() == 0
    assert proximal_pull(w, w, 1.0).item() == 0
    with pytest.raises(ValueError, match="no parameter"):
        proximal_pull({}, {}, 1.0)
    with pytest.raises(KeyError):
        proximal_pull(w, {"a": start["a"]}, 1.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 3, 2, 2), (3, 4)])
def test_kl_of_every_pixel(shape: tuple[int, ...], temperature: float) -> None:
    p, q = logits(0, *shape), logits(1, *shape)
    got = kl_map(p, q, temperature)
    assert got.shape == (shape[0], *shape[2:])
    np.testing.assert_allclose(got.numpy(), numpy_kl(p.numpy(), q.numpy(), temperature), atol=1e-12)
    assert (kl_map(p, p) == 0).all()


def test_a_single_mask_is_two_classes() -> None:
    p, q = logits(0, 2, 5, 5), logits(1, 2, 5, 5)
    a, b = torch.sigmoid(p), torch.sigmoid(q)
    want = a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
    assert_near(kl_map(as_classes(p), as_classes(q)), want)


def test_kl_stays_finite_for_certain_models() -> None:
    sure, wrong = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]], requires_grad=True)
    kl_map(sure, wrong).sum().backward()
    assert kl_map(sure, wrong).item() == pytest.approx(200)
    assert torch.isfinite(wrong.grad).all()


def test_logits_that_do_not_fit_are_refused() -> None:
    for p, q in ((logits(0, 2, 3), logits(0, 2, 4)), (logits(0, 2, 1), logits(0, 2, 1)), (logits(0, 2), logits(0, 2))):
        with pytest.raises(ValueError, match="logits of shapes"):
            kl_map(p, q)
    with pytest.raises(ValueError, match="temperature is 0"):
        kl_map(logits(0, 1, 2), logits(0, 1, 2), 0.0)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_distillation_is_scaled_kl_one_way_or_the_other(direction: str) -> None:
    student, teacher = logits(0, 2, 3, 4, 4), logits(1, 2, 3, 4, 4)
    first, second = (teacher, student) if direction == "forward" else (student, teacher)
    want = 4 * numpy_kl(first.numpy(), second.numpy(), 2.0).mean()
    assert distillation(student, teacher, direction=direction).item() == pytest.approx(want)
    assert distillation(teacher, teacher, direction=direction).item() == 0


def test_forward_distillation_agrees_with_torch() -> None:
    student, teacher = logits(0, 6, 3), logits(1, 6, 3)
    want = 9 * F.kl_div(F.log_softmax(student / 3, 1), F.softmax(teacher / 3, 1), reduction="batchmean")
    assert_near(distillation(student, teacher, temperature=3.0), want)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_distillation_moves_the_student_only_and_towards_the_teacher(direction: str) -> None:
    student, teacher = logits(0, 2, 3, 4).requires_grad_(), logits(1, 2, 3, 4).requires_grad_()
    value = distillation(student, teacher, direction=direction)
    value.backward()
    assert teacher.grad is None
    assert distillation(student.detach() - 0.5 * student.grad, teacher, direction=direction) < value.detach()
    with pytest.raises(ValueError, match="direction is 'up'"):
        distillation(student, teacher, direction="up")
