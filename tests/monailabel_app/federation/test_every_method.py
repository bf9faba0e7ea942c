"""Every method on every base: one tiny round with real training at two sites on disk, judged by their gates."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sites import LABELS, SAM, UNET, SiteOnDisk, unet_plan

from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.methods import GOSSIP, METHODS, build_method
from fed_backend.methods.fedsm import PERSONAL, fedsm_layout
from fed_backend.methods.pfedsam import EXPERTS
from fed_backend.objectives.selector import selector_shapes
from fed_backend.payload import Tensors, decode
from fed_backend.plan import Plan
from fed_backend.simulation import simulate
from monailabel_app.federation.participant import Participant
from monailabel_app.learning.tasks import run_job
from monailabel_app.models.adapter import BESIDE
from monailabel_app.models.registry import build_segmenter
from monailabel_app.planning import build_start

pytestmark = pytest.mark.slow

NAMES = ("north", "south")
CASES = {"t1": "train", "v1": "validation"}
BASES = {"unet": UNET, "sam": SAM.model_copy(update={"decoder": True})}
SETTINGS: dict[str, dict[str, Any]] = {
    "fedprox": {"mu": 0.01},
    "fedsm": {"sites": ",".join(NAMES)},
    "gcml": {"share": 1.0},
}


def plan_of(method: str, base: str, **changes: Any) -> Plan:
    """A plan of two steps a round; the adapter is what the model itself says."""
    segmenter = build_segmenter(BASES[base], LABELS)
    shapes = segmenter.adapter_shapes()
    layout = fedsm_layout(shapes, selector_shapes(len(NAMES))) if method == "fedsm" else shapes
    model = {"model": BASES[base].model_dump(), "base_sha256": segmenter.base_sha256, "adapter": layout}
    return unet_plan(method, SETTINGS.get(method), quorum=len(NAMES), **model, **changes)


@dataclass
class Member:
    """A site on disk, its learner in this process; remembers what it sent, kept and was offered."""

    site: SiteOnDisk
    sent: Tensors = field(default_factory=dict)
    offered: Tensors = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.site.name

    def train(self, data: bytes) -> bytes:
        reply = self.site.state.exchanges.read(self.site.job("federated_train", data)["reply"])
        self.sent = decode(reply)[1]
        return reply

    def offer(self, data: bytes) -> dict[str, Any]:
        self.offered = decode(data)[1]
        return self.site.job("offer", data)


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Any]:
    made: list[Member] = []

    def make(plan: Plan) -> list[Member]:
        for name in NAMES:
            member = Member(SiteOnDisk(tmp_path / name, name, plan, CASES))
            member.site.bench.prepare()
            made.append(member)
        return made

    yield make
    for member in made:
        member.site.state.close()


def model_of(version: Tensors) -> Tensors:
    """The model that plain names mean, without what stands beside it."""
    return {name: tensor for name, tensor in version.items() if not name.startswith(BESIDE)}


@pytest.mark.parametrize("base", sorted(BASES))
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_round_is_trained_aggregated_and_judged(members: Any, method: str, base: str) -> None:
    plan = plan_of(method, base)
    shared = build_method(plan).shared_keys()
    sites = members(plan)
    initial = sites[0].site.champion()
    (done,) = simulate(plan, sites, 1, start=build_start(plan, None))
    assert sorted(done.reports) == sorted(NAMES)
    local: list[Tensors] = []
    for member in sites:
        assert member.sent.keys() == shared == member.offered.keys()
        report = done.reports[member.name]
        version = member.site.version(report["version"])
        assert report["reason"]
        assert report["cases"] == 1
        assert member.site.state.versions(plan.model.name).state_of(report["version"])[0] in ("promoted", "refused")
        own = PERSONAL if method == "fedsm" else ""
        for name in shared:
            if name.startswith(own) and name.removeprefix(own) in version:
                np.testing.assert_array_equal(version[name.removeprefix(own)], member.offered[name], err_msg=name)
        assert model_of(version).keys() >= initial.keys()
        kept = {name: version[name] for name in model_of(version).keys() - {n.removeprefix(own) for n in shared}}
        local.append(kept)
    moved = [n for n in shared if not np.array_equal(sites[0].sent[n], sites[1].sent[n])]
    assert moved, "each site trained on its own cases"
    if method in ("fedbn", "fedsca") or (method, base) == ("pfedsam", "sam"):
        assert set(local[0]) & set(plan.adapter), "a part of the plan's adapter stays home"
    if local[0]:
        assert any(not np.array_equal(local[0][name], local[1][name]) for name in local[0]), (
            "what stays is each one's own"
        )
    if method == "pfedsam":
        assert any(EXPERTS in name.split(".") for name in local[0])


class Peer(Member):
    """A peer whose learner runs beside the caller, as in a real site."""

    examples = 1

    def lend(self, number: int) -> bytes:
        data = self._participant().lend(number)
        self.sent = decode(data)[1]
        return data

    def visit(self, data: bytes) -> dict[str, Any]:
        learner = threading.Thread(target=self._learn_once)
        learner.start()
        try:
            return self._participant().visit(data, decode(data)[0].site)
        finally:
            learner.join(120)

    def _participant(self) -> Participant:
        return Participant(self.site.state, self.site.plan, self.name)

    def _learn_once(self) -> None:
        jobs, pause = self.site.state.jobs, threading.Event()
        while (job := jobs.claim()) is None:
            pause.wait(0.02)
        jobs.finish(job.number, *run_job(self.site.bench, job))


@pytest.mark.parametrize("base", sorted(BASES))
@pytest.mark.parametrize("method", sorted(GOSSIP))
def test_an_exchange_is_learnt_from_merged_and_judged(members: Any, method: str, base: str) -> None:
    plan = plan_of(method, base)
    peers = [Peer(member.site) for member in members(plan)]
    (done,) = simulate_gossip(plan, peers, 1)
    assert sorted(done.transfers) == [("north", "south"), ("south", "north")]
    for peer in peers:
        assert peer.sent.keys() == plan.adapter.keys()
        report = done.reports[peer.name]
        assert report["chosen"] in ("own", "mean", "visitor")
        assert report["reason"]
        version = peer.site.version(report["version"])
        assert any(not np.array_equal(version[name], peer.sent[name]) for name in version), "it learned"
        stored = [f for f in (peer.site.state.folder / "exchange").iterdir() if len(f.name) == 64]
        assert not stored, "the visitor is gone"


@pytest.mark.parametrize(("encoding", "most"), [("float16", 0.55), ("int8", 0.55)])
def test_a_lent_model_is_half_as_large_where_the_plan_says_so(members: Any, encoding: str, most: float) -> None:
    """Peers hold no common start, so int8 differences are not possible: float16 stands for them."""
    (member, _) = members(plan_of("gcml", "unet", encoding=encoding))
    small = Peer(member.site).lend(0)
    full = sum(4 * tensor.size for tensor in member.site.champion().values())
    assert len(small) < most * full + 4096
    for name, tensor in decode(small)[1].items():
        np.testing.assert_allclose(tensor, member.site.champion()[name], atol=2e-3)
