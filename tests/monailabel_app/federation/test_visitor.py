"""GCML at a site: the visitor and the site's model learn from each other, the gate judges, the visitor is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sites import LABELS, UNET, SiteOnDisk, unet_plan, volume

from fed_backend.errors import PayloadError, ReplayError
from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.methods.base import Update
from fed_backend.methods.gcml import GCML
from fed_backend.payload import decode
from fed_backend.plan import Plan
from monailabel_app.errors import Conflict
from monailabel_app.federation.participant import Participant
from monailabel_app.federation.visitor import Met, meet
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.tasks import run_job
from monailabel_app.models.registry import build_segmenter

pytestmark = pytest.mark.slow

CASES = {"t1": "train", "t2": "train", "v1": "validation"}


class Peer:
    """A site on disk whose learner runs beside the caller, as in a real site."""

    def __init__(self, folder: Path, name: str, plan: Plan) -> None:
        self.site = SiteOnDisk(folder / name, name, plan, CASES)
        self.site.allow_anything()
        self.name, self.examples = name, 2
        self.site.bench.prepare()
        self.participant = Participant(self.site.state, plan, name)

    def lend(self, number: int) -> bytes:
        return self.participant.lend(number)

    def visit(self, data: bytes) -> dict[str, Any]:
        learner = threading.Thread(target=self._learn, daemon=True)
        learner.start()
        try:
            return self.participant.visit(data, decode(data)[0].site)
        finally:
            self.stop = True
            learner.join()

    def _learn(self) -> None:
        self.stop = False
        jobs = self.site.state.jobs
        while not self.stop:
            if (job := jobs.claim()) is None:
                threading.Event().wait(0.02)
                continue
            result, message = run_job(self.site.bench, job)
            jobs.finish(job.number, result, message)


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Peer]]:
    folder, plan = tmp_path_factory.mktemp("gossip"), unet_plan("gcml", {"share": 1.0})
    made = {name: Peer(folder, name, plan) for name in ("north", "south")}
    yield made
    for peer in made.values():
        peer.site.state.close()


def test_peers_exchange_without_a_hub_and_forget_their_visitors(peers: dict[str, Peer]) -> None:
    plan = peers["north"].site.plan
    before = {name: peer.site.champion() for name, peer in peers.items()}
    first, second = simulate_gossip(plan, list(peers.values()), 2, seed=1)
    assert sorted(first.transfers) == [("north", "south"), ("south", "north")]
    for name, peer in peers.items():
        assert first.reports[name]["chosen"] in ("own", "mean", "visitor")
        assert first.reports[name]["promoted"], "the gate was told to allow everything"
        assert any(not np.array_equal(peer.site.champion()[k], v) for k, v in before[name].items())
        version = peer.site.state.versions("unet").get(second.reports[name]["version"])
        assert version.settings["visitor"] != name
        kept = [f for f in (peer.site.state.folder / "exchange").iterdir() if len(f.name) == 64]
        assert not kept, "nothing of the visitor is left"
    assert first.size["north"] == len(peers["north"].lend(7))


def test_a_site_goes_on_with_what_a_visit_left_even_if_the_gate_refuses_it_until_the_champion_changes(
    tmp_path: Path,
) -> None:
    plan = unet_plan("gcml", {"share": 1.0})
    host, guest = Peer(tmp_path, "north", plan), Peer(tmp_path, "south", plan)
    state, store = host.site.state, host.site.state.versions("unet")
    served = store.champion()
    state.settings.set("gate", {"confidence": 0.999, "spread": 1.0})  # one case shows nothing
    report = host.visit(guest.lend(0))
    assert not report["promoted"]
    assert store.champion() == served
    _, lent = decode(host.lend(0))
    learned = store.load(report["version"])
    assert all(np.array_equal(lent[name], learned[name]) for name in lent), "what it learned is not lost"
    assert any(not np.array_equal(lent[name], tensor) for name, tensor in store.load(served).items())
    again = host.visit(guest.lend(1))
    assert store.get(again["version"]).settings["own"] == report["version"]
    host.site.allow_anything()
    third = host.visit(guest.lend(2))
    assert store.get(third["version"]).settings["own"] == again["version"], "it went on once more"
    assert (third["promoted"], store.get(third["version"]).parent) == (True, served)
    assert store.rollback("looked wrong") == served, "what the gate refused does not come back"
    store.promote(report["version"], "by hand")
    _, lent = decode(host.lend(2))
    assert all(np.array_equal(lent[name], learned[name]) for name in lent), "the champion, once somebody chose it"
    for peer in (host, guest):
        peer.site.state.close()


def test_a_visitor_is_checked_before_anything_else(peers: dict[str, Peer]) -> None:
    north, south = peers["north"].participant, peers["south"].participant
    lent = north.lend(50)
    with pytest.raises(PayloadError, match="came through 'west'"):
        south.visit(lent, "west")
    with pytest.raises(PayloadError, match="came through"):
        north.visit(lent, "north")
    with pytest.raises(PayloadError, match=r"malformed|too short|header"):
        south.visit(lent[:40], "north")
    state = peers["south"].site.state
    state.exchanges.accept_visit("north", 60, b"later")
    with pytest.raises(ReplayError, match="comes after its visit 60"):
        south.visit(lent, "north")
    state.settings.paused = True
    try:
        with pytest.raises(Conflict, match="paused"):
            south.lend(51)
    finally:
        state.settings.paused = False


def test_a_plan_with_a_hub_knows_no_visitors(tmp_path: Path) -> None:
    site = SiteOnDisk(tmp_path, "north", unet_plan("fedavg"), {"t1": "train"})
    with pytest.raises(Conflict, match="knows no exchange between peers"):
        Participant(site.state, site.plan, "north").lend(0)
    site.state.close()


def met(settings: dict[str, Any], seed: int = 3, scores: dict[str, float] | None = None) -> Met:
    """An exchange in memory; scores by candidate in the order own, mean, visitor."""
    plan = unet_plan("gcml", settings)
    host, guest = build_segmenter(UNET, LABELS), build_segmenter(UNET.model_copy(update={"seed": 5}), LABELS)
    image, mask = volume("case")
    given = iter((scores or {}).values())
    return meet(
        host,
        GCML(plan),
        Update("north", host.adapter(), 4),
        Update("south", guest.adapter(), 4),
        {},
        [(Volume(image, np.diag([1.0, 1.0, 3.0, 1.0])), mask)],
        plan.training,
        lambda tensors: {"v1": next(given)} if scores else {},
        seed=seed,
    )


def test_weight_zero_is_local_training_and_the_contrast_term_counts() -> None:
    local = met({"weight": 0})
    again, taught, other = met({"weight": 0}), met({"weight": 1}), met({"weight": 1, "beta": 0})
    plan = unet_plan("gcml")
    alone = build_segmenter(UNET, LABELS)
    image, mask = volume("case")
    for _ in alone.train_steps(
        [(Volume(image, np.diag([1.0, 1.0, 3.0, 1.0])), mask)],
        steps=plan.training.steps,
        batch_size=plan.training.batch_size,
        learning_rate=plan.training.learning_rate,
        weight_decay=plan.training.weight_decay,
        proximal=0.0,
        seed=3,
    ):
        pass
    assert local.chosen == "own", "without a validation case nothing is taken over unseen"
    for name, tensor in alone.adapter().items():
        np.testing.assert_array_equal(local.tensors[name], tensor)
        np.testing.assert_array_equal(again.tensors[name], tensor)
    assert any(not np.array_equal(taught.tensors[n], t) for n, t in local.tensors.items())
    assert any(not np.array_equal(taught.tensors[n], t) for n, t in other.tensors.items())


def test_only_the_region_around_the_truth_is_compared() -> None:
    near, far = met({"radius": 0}), met({"radius": 40})
    assert any(not np.array_equal(near.tensors[n], t) for n, t in far.tensors.items())


def test_the_visitor_learns_from_the_host_as_the_host_from_the_visitor() -> None:
    """How far the contrast term moves either, beside how far the exchange moves it at all."""
    for who in ("own", "visitor"):
        chosen = {"own": 0.0, "mean": 0.0, "visitor": 0.0} | {who: 1.0}
        alone, taught = (met({"weight": weight, "beta": 0}, scores=chosen) for weight in (0, 100))
        assert alone.chosen == taught.chosen == who
        moved = [np.abs(taught.tensors[name] - tensor).mean() for name, tensor in alone.tensors.items()]
        assert np.mean(moved) > 1e-4, f"{who}: {np.mean(moved)}"


@pytest.mark.parametrize("best", ["own", "mean", "visitor"])
def test_the_best_on_the_validation_cases_stays(best: str) -> None:
    scores = {"own": 0.5, "mean": 0.5, "visitor": 0.5} | {best: 0.6}
    outcome = met({}, scores=scores)
    assert (outcome.chosen, outcome.scores) == (best, scores)
