"""A simulated site trains and serves what a real one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sites import LABELS, UNET, SiteOnDisk, payload, unet_plan

from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.payload import decode
from fed_backend.plan import Plan
from fed_backend.simulation import simulate
from monailabel_app.federation.simulated import Case, ModelSite
from monailabel_app.models.registry import build_segmenter

pytestmark = pytest.mark.slow

CASES = {"t1": "train", "t2": "train", "v1": "validation"}


def simulated(site: SiteOnDisk, plan: Plan) -> ModelSite:
    """The same site in memory, with the cases as the real one stores them."""

    def part(name: str) -> list[Case]:
        return [(c.case, *site.state.corrections.load(c)[:2]) for c in site.state.corrections.newest(name)]

    return ModelSite(site.name, plan, build_segmenter(UNET, LABELS), part("train"), part("validation"))


@pytest.mark.parametrize("method", ["fedavg", "fedbn"])
def test_it_trains_the_tensors_of_the_real_site(tmp_path: Path, method: str) -> None:
    plan = unet_plan(method)
    real = SiteOnDisk(tmp_path, "north", plan, CASES)
    twin = simulated(real, plan)
    begun = payload(plan, "global")
    header, tensors = real.train(begun)
    other, again = decode(twin.train(begun))
    assert header.examples == other.examples == 2
    assert tensors.keys() == again.keys()
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)
    result = real.job("offer", payload(plan, "aggregate", tensors))
    report = twin.offer(payload(plan, "aggregate", tensors))
    assert result["dice_challenger"] == pytest.approx(report["dice"])
    stored = real.version(result["version"])
    assert stored.keys() == twin.offered.keys()
    assert all(np.array_equal(stored[name], twin.offered[name]) for name in stored)
    real.state.close()


def test_whole_federations_run_with_real_training(tmp_path: Path) -> None:
    def federation(plan: Plan) -> list[ModelSite]:
        made = []
        for name in ("north", "south"):
            real = SiteOnDisk(tmp_path / f"{plan.method.name}-{name}", name, plan, CASES)
            made.append(simulated(real, plan))
            real.state.close()
        return made

    plan = unet_plan("fedavg", quorum=2)
    central = federation(plan)
    rounds = list(simulate(plan, central, 2, workers=2))
    assert {site.steps for site in central} == {4}
    assert all(np.array_equal(central[0].offered[n], t) for n, t in central[1].offered.items()), "one global model"
    reports: list[Any] = [report["dice"] for done in rounds for report in done.reports.values()]
    assert all(0 <= dice <= 1 for dice in reports)

    peers = federation(unet_plan("gcml", {"share": 1.0}))
    (done,) = simulate_gossip(unet_plan("gcml", {"share": 1.0}), peers, 1)
    assert len(done.transfers) == 2
    assert {site.steps for site in peers} == {2}
