"""What a method adds to a site's training counts in the tensors that come out, each term for itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sites import AFFINE, LABELS, UNET, unet_plan, volume

from fed_backend.methods.pfedsam import EXPERTS
from fed_backend.objectives.distillation import distillation
from fed_backend.objectives.experts import load_balance, without_experts
from fed_backend.payload import Tensors
from fed_backend.plan import Plan, TrainingSpec
from monailabel_app.federation.halves import Work, half_of, prepare
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Segmenter
from monailabel_app.models.experts import experts_of
from monailabel_app.models.registry import build_segmenter

pytestmark = pytest.mark.slow

STEPS = 20


def planned(method: str, steps: int = STEPS, **settings: Any) -> Plan:
    training = TrainingSpec(steps=steps, batch_size=2, learning_rate=3e-3, weight_decay=0)
    return unet_plan(method, settings, training=training.model_dump())


def trained(plan: Plan, change: Tensors | None = None) -> tuple[Segmenter, Tensors, Tensors]:
    """One round in memory: the model, where it started, where it ended. ``change`` is added to the start."""
    segmenter = build_segmenter(UNET, LABELS)
    prepare(segmenter, plan)
    start = segmenter.adapter()
    for name, shift in (change or {}).items():
        start[name] = start[name] + shift
    segmenter.load_adapter(start)
    image, mask = volume("case")
    half = half_of(plan, "north")
    work = Work(segmenter, [(Volume(image, AFFINE), mask)], 3, half.steps)
    return segmenter, start, half.train(work, start)


def distance(one: Tensors, other: Tensors) -> float:
    return float(np.sqrt(sum(np.square(one[name] - other[name]).sum() for name in one)))


def shifted() -> Tensors:
    """Experts that are no longer the identity, and a gate that prefers the first."""
    plan = planned("pfedsam")
    segmenter = build_segmenter(UNET, LABELS)
    prepare(segmenter, plan)
    shapes = {name: t.shape for name, t in segmenter.adapter().items() if EXPERTS in name.split(".")}
    rng = np.random.default_rng(0)
    change = {n: rng.normal(0, 0.5, shape).astype(np.float32) for n, shape in shapes.items() if n.endswith(".up")}
    (bias,) = (name for name in shapes if name.endswith(".gate.bias"))
    return {**change, bias: np.asarray([3, 0, 0, 0], np.float32)}


def test_fedprox_holds_the_model_near_its_start() -> None:
    _, start, free = trained(planned("fedavg"))
    _, _, held = trained(planned("fedprox", mu=100.0))
    assert distance(held, start) < 0.5 * distance(free, start)


def test_the_shared_part_is_trained_as_if_there_were_no_experts() -> None:
    _, _, both = trained(planned("pfedsam", stage_b=0.5), shifted())
    _, _, alone = trained(planned("fedavg"))
    for name, tensor in alone.items():
        np.testing.assert_array_equal(both[name], tensor, err_msg=name)


def strayed(segmenter: Segmenter, tensors: Tensors) -> tuple[float, float]:
    """How far the model with experts is from its teacher without, and how unevenly they are used."""
    segmenter.load_adapter(tensors)
    image, mask = volume("case")
    objective = segmenter.objective([(Volume(image, AFFINE), mask)], batch_size=4, seed=9)
    batch, modules = objective.draw(), experts_of(segmenter)
    with torch.no_grad():
        student = objective.logits(batch)
        (gates,) = (module.gates for module in modules)
        with without_experts(modules):
            teacher = objective.logits(batch)
    return float(distillation(student, teacher)), float(load_balance(gates))


def test_the_teacher_without_experts_holds_the_experts_back() -> None:
    free, held = (strayed(s, t) for s, _, t in (trained(planned("pfedsam", mu=mu), shifted()) for mu in (0, 100.0)))
    assert held[0] < 0.8 * free[0]


def test_the_balance_term_spreads_the_work_over_the_experts() -> None:
    free, even = (
        strayed(s, t)[1] for s, _, t in (trained(planned("pfedsam", balance=b), shifted()) for b in (0, 100.0))
    )
    assert even < 0.98 * free
