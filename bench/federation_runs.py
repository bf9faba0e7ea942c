"""One step of the benchmark: a method, or a baseline, on all sites, and the scores of what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from bench.federation_baselines import local_only, pooled
from bench.federation_data import Part
from bench.federation_rows import Outcome, Setting
from bench.federation_sites import LoneSite, mean, plan_of, sites_of
from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.methods import GOSSIP
from fed_backend.methods.fedsm import GLOBAL
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from fed_backend.simulation import simulate
from monailabel_app.federation.simulated import Case
from monailabel_app.models.adapter import BESIDE
from monailabel_app.planning import build_start

__all__ = ["BASELINES", "COMMON", "leave_out", "run"]

BASELINES = {"local-only": local_only, "pooled": pooled}
COMMON = ("fedavg", "fedprox")
"""Methods that end in one model for all, which a new site could use."""


def run(method: str, sites: Mapping[str, Part], setting: Setting) -> Outcome:
    """Train and score.

    Args:
        method: one of METHODS or GOSSIP, of :data:`BASELINES`, or of the rows in ``federation_sites``.
        sites: site -> part -> cases; sites without training cases are unseen ones.
        setting: budget and seed.
    """
    members = {name: parts for name, parts in sites.items() if parts.get("train")}
    unseen = [
        case for name, parts in sites.items() if name not in members for cases in parts.values() for case in cases
    ]
    torch.manual_seed(setting.seed)
    began = time.process_time()
    train = BASELINES.get(method)
    outcome = train(members, unseen, setting) if train else _federated(method, members, unseen, setting)
    outcome.seconds = time.process_time() - began
    return outcome


def leave_out(method: str, sites: Mapping[str, Part], setting: Setting) -> Outcome:
    """A method that ends in one model for all, trained without a site and measured there: part ``left-out``."""
    members = {name: parts for name, parts in sites.items() if parts.get("train")}
    outcome, began = Outcome(), time.process_time()
    for left in members:
        others = {name: parts for name, parts in members.items() if name != left}
        found = run(method, {**others, left: {"unseen": members[left]["test"]}}, setting)
        outcome.dice[method, left, "left-out"] = found.dice[method, "unseen", "unseen"]
    outcome.seconds = time.process_time() - began
    return outcome


def _federated(row: str, members: Mapping[str, Part], unseen: Sequence[Case], setting: Setting) -> Outcome:
    plan = plan_of(row, tuple(members), setting)
    sites = sites_of(plan, members, setting)
    outcome = Outcome()
    if plan.method.name in GOSSIP:
        _gossip(plan, sites, setting, outcome)
    else:
        start = build_start(plan, None)
        for done in simulate(plan, list(sites.values()), setting.rounds, start=start):
            outcome.bytes_up.update(done.bytes_up)
            outcome.bytes_down.update(done.bytes_down)
    for name, site in sites.items():
        outcome.steps[name] = site.steps
        outcome.validated(row, name, site.validated())
        test = members[name]["test"]
        outcome.dice[row, name, "test"] = mean(site.dice(site.served, test))
        same = site.served is site.offered
        again = outcome.dice[row, name, "test"] if same else mean(site.dice(site.offered, test))
        outcome.dice[row, name, "test-offered"] = again
        for part, tensors in _models_of(site.offered).items():
            outcome.dice[f"{row}-{part}", name, "test"] = mean(site.dice(tensors, test))
    if unseen and (row in COMMON or row == "fedsm"):
        first = next(iter(sites.values()))
        outcome.dice[row, "unseen", "unseen"] = mean(first.dice(first.offered, unseen))
    return outcome


def _gossip(plan: Plan, sites: Mapping[str, LoneSite], setting: Setting, outcome: Outcome) -> None:
    """The first round's steps alone, then exchanges; whom nobody visits learns alone, for equal steps."""
    for site in sites.values():
        site.learn()
    for exchange in simulate_gossip(plan, list(sites.values()), setting.rounds - 1, seed=setting.seed):
        outcome.bytes_up.update(exchange.size)
        for sender, receiver in exchange.transfers:
            outcome.bytes_down[receiver] += exchange.size[sender]
        for site in sites.values():
            while site.steps < (exchange.number + 2) * setting.steps:
                site.learn()


def _models_of(served: Tensors) -> dict[str, Tensors]:
    """The models of a version of FedSM, each alone and without a gate; nothing for other methods."""
    personal = {name: tensor for name, tensor in served.items() if not name.startswith(BESIDE)}
    prefix = BESIDE + GLOBAL
    common = {name.removeprefix(prefix): tensor for name, tensor in served.items() if name.startswith(prefix)}
    return {"personal": personal, "global": {**personal, **common}} if common else {}
