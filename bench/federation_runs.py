"""One step of the benchmark: a method, or a baseline, on all sites, and the scores of what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.federation_data import Part
from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.methods import GOSSIP
from fed_backend.methods.fedsm import GLOBAL
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from fed_backend.simulation import simulate
from monailabel_app.federation.simulated import Case, ModelSite
from monailabel_app.learning.finetune import finetune
from monailabel_app.learning.tasks.workbench import mix_seed
from monailabel_app.models.adapter import BESIDE
from monailabel_app.models.registry import build_segmenter
from monailabel_app.planning import build_plan, build_start

__all__ = ["BASELINES", "Outcome", "Setting", "run"]

BASELINES = ("local-only", "pooled", "ensemble")
LABELS = {"tumour": 1}
COMMON = ("fedavg", "fedprox")
"""Methods that end in one model for all, which a new site could use."""


@dataclass(frozen=True)
class Setting:
    """What all methods have in common: every model takes ``rounds * steps`` gradient steps at every site."""

    model: str
    rounds: int
    steps: int
    seed: int


@dataclass
class Outcome:
    """Scores by (row's method, site, part), and what they cost by site."""

    dice: dict[tuple[str, str, str], float] = field(default_factory=dict)
    bytes_up: Counter[str] = field(default_factory=Counter)
    bytes_down: Counter[str] = field(default_factory=Counter)
    steps: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def run(method: str, sites: Mapping[str, Part], setting: Setting) -> Outcome:
    """Train and score.

    Args:
        method: one of METHODS or GOSSIP, or of :data:`BASELINES`.
        sites: site -> part -> cases; sites without training cases are unseen ones.
        setting: budget and seed.
    """
    members = {name: parts for name, parts in sites.items() if parts.get("train")}
    unseen = [
        case for name, parts in sites.items() if name not in members for cases in parts.values() for case in cases
    ]
    torch.manual_seed(setting.seed)
    began = time.perf_counter()
    if method in BASELINES:
        outcome = _baseline(method, members, unseen, setting)
    else:
        outcome = _federated(method, members, unseen, setting)
    outcome.seconds = time.perf_counter() - began
    return outcome


def _federated(method: str, members: Mapping[str, Part], unseen: Sequence[Case], setting: Setting) -> Outcome:
    plan = _plan(method, tuple(members), setting)
    sites = _sites(plan, members)
    outcome = Outcome()
    if method in GOSSIP:
        for site in sites.values():  # warm-up: the first round's steps alone
            site.warm_up()
        for exchange in simulate_gossip(plan, list(sites.values()), setting.rounds - 1, seed=setting.seed):
            outcome.bytes_up.update(exchange.size)
            for sender, receiver in exchange.transfers:
                outcome.bytes_down[receiver] += exchange.size[sender]
            for name in sorted(sites.keys() - exchange.reports.keys()):
                sites[name].warm_up()  # nobody came: learn alone, for equal steps
    else:
        start = build_start(plan, None)
        for done in simulate(plan, list(sites.values()), setting.rounds, start=start):
            outcome.bytes_up.update(done.bytes_up)
            outcome.bytes_down.update(done.bytes_down)
    for name, site in sites.items():
        test = members[name]["test"]
        outcome.steps[name] = site.steps
        outcome.dice[method, name, "test"] = _mean(site.dice(site.served, test))
        same = site.served is site.offered
        again = outcome.dice[method, name, "test"] if same else _mean(site.dice(site.offered, test))
        outcome.dice[method, name, "test-offered"] = again
        for part, tensors in _models_of(site.served).items():
            outcome.dice[f"{method}-{part}", name, "test"] = _mean(site.dice(tensors, test))
    if method in COMMON and unseen:
        first = next(iter(sites.values()))
        outcome.dice[method, "unseen", "unseen"] = _mean(first.dice(first.offered, unseen))
    return outcome


def _models_of(served: Tensors) -> dict[str, Tensors]:
    """The models of a version of FedSM, each alone; nothing for other methods."""
    personal = {name: tensor for name, tensor in served.items() if not name.startswith(BESIDE)}
    prefix = BESIDE + GLOBAL
    common = {name.removeprefix(prefix): tensor for name, tensor in served.items() if name.startswith(prefix)}
    return {"personal": personal, "global": {**personal, **common}} if common else {}


def _baseline(method: str, members: Mapping[str, Part], unseen: Sequence[Case], setting: Setting) -> Outcome:
    plan = _plan("fedavg", tuple(members), setting)
    sites = _sites(plan, members)
    outcome = Outcome()
    if method == "pooled":
        everything = [case for parts in members.values() for case in parts["train"]]
        trained = _train(plan, everything, setting, "pooled")
        models = dict.fromkeys(members, trained)
        if unseen:
            outcome.dice[method, "unseen", "unseen"] = _mean(next(iter(sites.values())).dice(trained, unseen))
    else:
        models = {name: _train(plan, parts["train"], setting, name) for name, parts in members.items()}
    for name, site in sites.items():
        test = members[name]["test"]
        outcome.steps[name] = setting.rounds * setting.steps
        if method == "ensemble":
            outcome.dice[method, name, "test"] = _mean(_ensemble(plan, list(models.values()), test))
        else:
            outcome.dice[method, name, "test"] = _mean(site.dice(models[name], test))
    if method == "ensemble" and unseen:
        outcome.dice[method, "unseen", "unseen"] = _mean(_ensemble(plan, list(models.values()), unseen))
    return outcome


def _train(plan: Plan, cases: Sequence[Case], setting: Setting, name: str) -> Tensors:
    """A model trained alone for as many steps as a site of a federation takes."""
    segmenter = build_segmenter(plan.model, plan.labels)
    training = plan.training.model_copy(update={"steps": setting.rounds * setting.steps})
    pairs = [(volume, mask) for _, volume, mask in cases]
    return finetune(segmenter, pairs, training, seed=mix_seed(setting.seed, name)).tensors


def _ensemble(plan: Plan, models: Sequence[Tensors], cases: Sequence[Case]) -> dict[str, float]:
    """The mean of the models' probabilities; for the U-Net, whose network puts out one map per class."""
    if plan.model.name != "unet":
        raise SystemExit("the ensemble baseline is for --model unet")
    networks: list[Any] = []
    for tensors in models:
        segmenter = build_segmenter(plan.model, plan.labels)
        segmenter.load_adapter(tensors)
        networks.append(segmenter.network)

    def mean(module: Any, given: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        others = [network(given[0]) for network in networks[1:]]
        return torch.stack([torch.softmax(one, dim=1) for one in (logits, *others)]).mean(dim=0).log()

    first = build_segmenter(plan.model, plan.labels)
    judge = ModelSite("ensemble", plan, first, cases[:1], [])
    handle = first.network.register_forward_hook(mean)
    try:
        return judge.dice(models[0], cases)
    finally:
        handle.remove()


def _sites(plan: Plan, members: Mapping[str, Part]) -> dict[str, _Site]:
    return {
        name: _Site(name, plan, build_segmenter(plan.model, plan.labels), parts["train"], parts["val"])
        for name, parts in members.items()
    }


class _Site(ModelSite):
    """A site that can also learn alone, as peers do between visits."""

    def warm_up(self) -> None:
        self._segmenter.load_adapter(self.served)
        seed = mix_seed(self._plan.training.seed, self.name, "alone", self.steps)
        cases = [(volume, mask) for _, volume, mask in self._train]
        done = finetune(self._segmenter, cases, self._plan.training, seed=seed)
        self.steps += done.steps
        self._judge(done.tensors)


def _plan(method: str, members: tuple[str, ...], setting: Setting) -> Plan:
    settings = {"fedprox": "fedprox:mu=0.01", "fedsm": f"fedsm:sites={','.join(members)};selector_steps=5"}
    return build_plan(
        model=setting.model,
        labels=LABELS,
        name="benchmark",
        method=settings.get(method, method),
        rounds=setting.rounds,
        quorum=len(members),
        round_deadline=3600.0,
        starters=(),
        gate_margin=0.0,
        checkpoint=None,
        seed=setting.seed,
        steps=setting.steps,
    )


def _mean(scores: Mapping[str, float]) -> float:
    return fmean(scores.values())
