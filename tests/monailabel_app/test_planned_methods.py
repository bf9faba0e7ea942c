"""A plan is only made if the method it names accepts it."""

from __future__ import annotations

import pytest

from fed_backend.errors import PlanError
from fed_backend.methods import build_method
from fed_backend.plan import Plan
from monailabel_app.planning import build_plan


def planned(method: str, proximal: float | None) -> Plan:
    return build_plan(
        model="unet",
        labels={"tumour": 1},
        name="test",
        method=method,
        rounds=1,
        quorum=1,
        round_deadline=60.0,
        starters=(),
        gate_margin=0.0,
        checkpoint=None,
        seed=0,
        proximal=proximal,
    )


def test_fedprox_is_planned_with_its_pull() -> None:
    plan = planned("fedprox", 0.01)
    assert plan.training.proximal == 0.01
    assert build_method(plan).shared_keys() == plan.adapter.keys()


def test_fedprox_without_a_pull_is_refused() -> None:
    with pytest.raises(PlanError, match=r"training\.proximal = 0"):
        planned("fedprox", None)
