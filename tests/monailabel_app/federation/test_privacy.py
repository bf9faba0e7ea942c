"""What a site sends under a plan with differential privacy, and what it counts."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from sites import SiteOnDisk, payload, unet_plan

from fed_backend.methods import build_method
from fed_backend.payload import Tensors
from monailabel_app.errors import Conflict
from monailabel_app.federation.privacy import PrivacyLedger, epsilon_of, withheld
from monailabel_app.state.audit import read_audit, verify

CASES = {"t1": "train", "t2": "train", "v1": "validation"}
PRIVACY = {"clip": 0.5, "noise": 1.0}


def exact_epsilon(noise: float, times: int, delta: float) -> float:
    """Of the Gaussian mechanism itself (Balle and Wang 2018, theorem 8): ``times`` uses are one with less noise."""
    scale, phi = math.sqrt(times) / noise, NormalDist().cdf
    low, high = 0.0, 1000.0
    for _ in range(200):
        epsilon = (low + high) / 2
        tail = phi(-scale / 2 - epsilon / scale)
        spent = phi(scale / 2 - epsilon / scale) - (math.exp(epsilon) * tail if tail else 0.0)
        low, high = (epsilon, high) if spent > delta else (low, epsilon)
    return high


@pytest.mark.parametrize(("noise", "times"), [(0.5, 1), (1.0, 1), (1.0, 10), (4.0, 1), (4.0, 100), (20.0, 3)])
def test_epsilon_is_an_upper_bound_close_to_the_exact_one(noise: float, times: int) -> None:
    exact = exact_epsilon(noise, times, 1e-5)
    assert exact < epsilon_of([(noise, times)], 1e-5) < 1.2 * exact


def test_epsilon_of_known_cases() -> None:
    """Closed form: the minimum over orders of a / (2 z^2) turned into epsilon (Canonne et al. 2020, proposition 12)."""

    def at(order: float, noise: float, times: int) -> float:
        divergence = times * order / (2 * noise**2)
        return divergence + math.log1p(-1 / order) - (math.log(1e-5) + math.log(order)) / (order - 1)

    orders = [1 + x / 10 for x in range(1, 100)] + [*range(12, 64)]
    for noise, times in ((1.0, 1), (2.0, 5)):
        assert epsilon_of([(noise, times)], 1e-5) == pytest.approx(min(at(o, noise, times) for o in orders), rel=1e-6)
    assert epsilon_of([(1.0, 4)], 1e-5) == pytest.approx(epsilon_of([(1.0, 1), (1.0, 3)], 1e-5))
    assert epsilon_of([], 1e-5) == epsilon_of([(1.0, 0)], 1e-5) == 0


def test_an_update_leaves_with_noise_and_is_counted(tmp_path: Path) -> None:
    plan = unet_plan("fedbn", privacy=PRIVACY)
    site = SiteOnDisk(tmp_path, "north", plan, CASES)
    header, sent = site.train(payload(plan, "global"))
    assert (header.examples, header.metrics) == (1, {})
    base = site.state.versions("unet").load(site.state.versions("unet").base())
    assert sent.keys() == build_method(plan).shared_keys()
    assert spread(sent, base) == pytest.approx(1.0, rel=0.1), "noise of deviation 2 x 0.5 x 1"
    site.train(payload(plan, "global", sent, round_=1))
    ledger = PrivacyLedger(site.state.database)
    summary = ledger.summary(plan)
    assert summary is not None
    assert summary["updates"] == 2
    assert summary["epsilon"] == summary["site_epsilon"] == pytest.approx(epsilon_of([(1.0, 2)], 1e-5))
    protected = [entry for entry in site.state.audit.list() if entry.event == "protected"]
    assert [entry.round for entry in protected] == [0, 1]
    assert f"epsilon {summary['epsilon']:.4g} under this plan" in protected[1].note
    site.state.close()
    assert verify(read_audit(tmp_path / "state")).entries == 2


def spread(tensors: Tensors, start: Tensors) -> float:
    return float(np.std(np.concatenate([(tensors[name] - start[name]).ravel() for name in tensors])))


def test_what_two_plans_cost_adds_up(tmp_path: Path) -> None:
    one, other = unet_plan("fedavg", privacy=PRIVACY), unet_plan("fedavg", privacy={"clip": 0.5, "noise": 2.0})
    site = SiteOnDisk(tmp_path, "north", one, CASES)
    ledger = PrivacyLedger(site.state.database)
    ledger.spend(one, "run1", 0)
    ledger.spend(other, "run2", 0)
    ledger.spend(unet_plan("fedavg"), "run3", 0)
    summary = ledger.summary(other)
    assert summary is not None
    assert summary["epsilon"] == pytest.approx(epsilon_of([(2.0, 1)], 1e-5))
    assert summary["site_epsilon"] == pytest.approx(epsilon_of([(1.0, 1), (2.0, 1)], 1e-5))
    assert ledger.summary(unet_plan("fedavg")) is None
    site.state.close()


def test_no_update_leaves_beyond_the_plans_limit(tmp_path: Path) -> None:
    limit = epsilon_of([(1.0, 1)], 1e-5) + 0.1
    plan = unet_plan("fedavg", privacy={**PRIVACY, "epsilon": limit})
    site = SiteOnDisk(tmp_path, "north", plan, CASES)
    site.train(payload(plan, "global"))
    with pytest.raises(Conflict, match="the plan allows"):
        site.job("federated_train", payload(plan, "global", run="run2"))
    summary = PrivacyLedger(site.state.database).summary(plan)
    assert summary is not None
    assert summary["updates"] == 1
    site.state.close()


def test_the_hub_is_told_no_figures_of_the_sites_cases() -> None:
    report = {"version": "v1", "promoted": True, "reason": "Better: 0.8", "dice_champion": 0.7, "dice_challenger": 0.8}
    plan = unet_plan("fedavg", privacy=PRIVACY)
    told = withheld(report, plan)
    assert (told["promoted"], told["reason"], told["dice_champion"], told["dice_challenger"]) == (True, "", None, None)
    assert withheld(report, unet_plan("fedavg")) == report
