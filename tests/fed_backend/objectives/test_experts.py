"""The local mixture of experts: identity at first, gates, balance, and what stays at a site."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fed_backend.methods.pfedsam import EXPERTS
from fed_backend.objectives.distillation import distillation
from fed_backend.objectives.experts import LocalExperts, load_balance, without_experts


class Student(torch.nn.Module):
    """A tiny segmenter with one L-MoE in the middle."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base = torch.nn.Linear(5, 8)
        self.experts = LocalExperts(8, experts=3, width=4, seed=seed)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.experts(self.base(x))).movedim(-1, 1)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def filled(module: LocalExperts) -> LocalExperts:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return module


@pytest.mark.parametrize(("shape", "channel_dim"), [((2, 7, 6), -1), ((2, 3, 4, 6), -1), ((2, 6, 3, 4), 1)])
def test_experts_are_the_identity_at_first(shape: tuple[int, ...], channel_dim: int) -> None:
    x = random(*shape)
    assert torch.equal(LocalExperts(6, channel_dim=channel_dim)(x), x)


@pytest.mark.parametrize(("shape", "channel_dim"), [((2, 3, 4, 6), -1), ((2, 6, 3, 4), 1)])
def test_experts_are_the_equation(shape: tuple[int, ...], channel_dim: int) -> None:
    module = filled(LocalExperts(6, experts=3, width=2, channel_dim=channel_dim)).double()
    x = random(*shape).double()
    tokens = np.moveaxis(x.numpy(), channel_dim, -1)
    down, bias, up = (p.detach().numpy() for p in (module.down, module.down_bias, module.up))
    want = tokens.copy()
    for b in range(len(tokens)):
        scores = (
            module.gate.weight.detach().numpy() @ tokens[b].reshape(-1, 6).mean(0) + module.gate.bias.detach().numpy()
        )
        gates = np.exp(scores) / np.exp(scores).sum()
        for index in np.ndindex(tokens.shape[1:-1]):
            for e in range(3):
                h = down[e] @ tokens[(b, *index)] + bias[e]
                h = 0.5 * h * (1 + np.vectorize(math.erf)(h / np.sqrt(2)))
                want[(b, *index)] += gates[e] * (up[e] @ h)
        np.testing.assert_allclose(module(x)[b].detach().numpy(), np.moveaxis(want, -1, channel_dim)[b], atol=1e-10)
        np.testing.assert_allclose(module.gates[b].detach().numpy(), gates, atol=1e-12)


def test_the_student_equals_its_teacher_at_first_and_differs_later() -> None:
    student, x = Student(), random(2, 6, 5)
    with torch.no_grad(), without_experts([student.experts]):
        teacher = student(x)
    assert distillation(student(x), teacher).item() == 0
    filled(student.experts)
    with torch.no_grad(), without_experts([student.experts]):
        assert torch.equal(student(x), teacher)
    assert distillation(student(x), teacher).item() > 0


def test_experts_learn_apart_while_the_global_part_stays() -> None:
    trained = []
    for site in range(2):
        student = Student()
        base = {n: p.detach().clone() for n, p in student.named_parameters() if EXPERTS not in n.split(".")}
        weights = list(student.experts.parameters())
        target = torch.full((4, 6), site)
        losses = []
        for _ in range(60):
            out = student(random(4, 6, 5))
            loss = torch.nn.functional.cross_entropy(out, target) + 0.01 * load_balance(student.experts.gates)
            with torch.no_grad():
                for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight -= gradient
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0]
        assert all(torch.equal(p, base[n]) for n, p in student.named_parameters() if n in base)
        trained.append(torch.cat([p.detach().flatten() for p in student.experts.parameters()]))
    assert not torch.allclose(trained[0], trained[1])


def test_switching_off_restores_each_module() -> None:
    modules = [LocalExperts(4), LocalExperts(4)]
    modules[1].enabled = False

    def fail_inside() -> None:
        with without_experts(modules):
            assert not any(m.enabled for m in modules)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_inside()
    assert [m.enabled for m in modules] == [True, False]


def test_load_balance_is_zero_when_even_and_largest_when_one_expert_does_all() -> None:
    assert load_balance(torch.full((5, 4), 0.25)).item() == pytest.approx(0)
    assert load_balance(torch.eye(4)).item() == pytest.approx(0)  # even over the batch
    collapsed = torch.zeros(5, 4)
    collapsed[:, 2] = 1
    assert load_balance(collapsed).item() == pytest.approx(3)
    one = LocalExperts(4)
    one(random(2, 3, 4))
    assert load_balance(one.gates).item() == pytest.approx(0)


def test_sizes_names_and_seeds() -> None:
    module = LocalExperts(768)
    assert sum(p.numel() for p in module.parameters()) == 4 * (2 * 768 * 16 + 16) + 4 * 769
    names = [name for name, _ in Student().named_parameters() if EXPERTS in name.split(".")]
    assert names == ["experts.down", "experts.down_bias", "experts.up", "experts.gate.weight", "experts.gate.bias"]
    assert torch.equal(LocalExperts(4, seed=1).down, LocalExperts(4, seed=1).down)
    assert not torch.equal(LocalExperts(4, seed=1).down, LocalExperts(4, seed=2).down)
    for wrong in ({"experts": 0}, {"width": 0}, {"channel_dim": 2}):
        with pytest.raises(ValueError, match="L-MoE"):
            LocalExperts(4, **wrong)
