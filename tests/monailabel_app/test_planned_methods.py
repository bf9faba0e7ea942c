"""A plan is only made if the method it names accepts it."""

from __future__ import annotations

import numpy as np
import pytest

from fed_backend.errors import FedSegError, PlanError
from fed_backend.methods import build_method
from fed_backend.methods.fedsm import sites_of
from fed_backend.payload import decode
from fed_backend.plan import Plan
from monailabel_app.models.registry import build_segmenter
from monailabel_app.planning import build_plan, build_start


def planned(method: str, proximal: float | None = None, also: tuple[str, ...] = ()) -> Plan:
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
        also=also,
    )


def test_fedprox_is_planned_with_its_pull() -> None:
    plan = planned("fedprox", 0.01)
    assert plan.training.proximal == 0.01
    assert build_method(plan).shared_keys() == plan.adapter.keys()


def test_a_plan_may_offer_several_methods_with_settings_of_their_own() -> None:
    plan = planned("fedavg", also=("fedsca:share=0.25;tau=0.2", "fedprox:mu=0.01", "fedbn:local=*.adn.N.*"))
    assert plan.methods == ("fedavg", "fedsca", "fedprox", "fedbn")
    assert plan.under("fedsca").method.settings == {"share": 0.25, "tau": 0.2}
    assert build_method(plan.under("fedsca")).shared_keys() < build_method(plan).shared_keys()
    assert plan.under("fedsca").sha256 != plan.sha256


@pytest.mark.parametrize("also", ["magic", "fedsca:share", "fedsca:share=2", "fedavg"])
def test_a_method_that_cannot_run_is_refused_when_planned(also: str) -> None:
    with pytest.raises(FedSegError, match=r"magic|no value|share is 2|listed twice"):
        planned("fedavg", also=(also,))


def test_the_hub_gets_the_start_that_a_method_compares_with() -> None:
    plan = planned("fedavg", also=("fedsca:share=0.5",))
    start = build_start(plan, None)
    assert start is not None
    header, tensors = decode(start)
    assert header.plan_sha256 == plan.sha256
    base = build_segmenter(plan.model, plan.labels).adapter()
    assert tensors.keys() == build_method(plan.under("fedsca")).shared_keys()
    assert all(np.array_equal(tensor, base[name]) for name, tensor in tensors.items())
    assert build_start(planned("fedavg"), None) is None


def test_fedprox_without_a_pull_is_refused() -> None:
    with pytest.raises(PlanError, match=r"training\.proximal = 0"):
        planned("fedprox", None)


def test_a_plan_of_fedsm_lists_three_models_and_another_method_one() -> None:
    plan = planned("fedsm:sites=north,south;gamma=0.8", also=("fedavg", "pfedsam"))
    names = set(build_segmenter(plan.model, plan.labels).adapter_shapes())
    assert {n.removeprefix("global/") for n in plan.adapter if n.startswith("global/")} == names
    assert set(plan.under("fedavg").adapter) == names
    assert build_method(plan.under("pfedsam")).shared_keys() == names
    assert sites_of(plan) == sites_of(plan.under("fedavg")) == ("north", "south")
    with pytest.raises(PlanError, match="list every site once"):
        planned("fedsm")
