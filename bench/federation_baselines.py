"""What federated methods are compared with: every site alone, all data in one place, and an ensemble of the sites.

They learn in the same rounds of the same number of steps, and what serves is chosen by the same gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.federation_data import Part
from bench.federation_rows import Outcome, Setting
from bench.federation_sites import LoneSite, common_site, mean, plan_of, segmenter_of, sites_of
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from monailabel_app.federation.simulated import Case, ModelSite

__all__ = ["ensemble_dice", "local_only", "pooled"]


def local_only(members: Mapping[str, Part], unseen: Sequence[Case], setting: Setting) -> Outcome:
    """Rows ``local-only`` and ``ensemble``: the mean of the sites' probabilities.

    ``left-out`` of a site: the other sites' models there, each alone or all together.
    """
    plan = plan_of("fedavg", tuple(members), setting)
    sites = sites_of(plan, members, setting)
    outcome = Outcome()
    for name, site in sites.items():
        _learn(site, setting)
        outcome.steps[name] = site.steps
        outcome.validated("local-only", name, site.validated())
        outcome.dice["local-only", name, "test"] = mean(site.dice(site.served, members[name]["test"]))
        outcome.dice["local-only", name, "test-offered"] = mean(site.dice(site.offered, members[name]["test"]))
    models = {name: site.served for name, site in sites.items()}
    judge = next(iter(sites.values()))
    for name, parts in members.items():
        others = [tensors for other, tensors in models.items() if other != name]
        alone = [mean(judge.dice(tensors, parts["test"])) for tensors in others]
        outcome.dice["local-only", name, "left-out"] = sum(alone) / len(alone)
        if setting.model == "unet":
            outcome.dice["ensemble", name, "test"] = ensemble_dice(plan, list(models.values()), parts["test"], setting)
            outcome.dice["ensemble", name, "left-out"] = ensemble_dice(plan, others, parts["test"], setting)
    if unseen and setting.model == "unet":
        outcome.dice["ensemble", "unseen", "unseen"] = ensemble_dice(plan, list(models.values()), unseen, setting)
    return outcome


def pooled(members: Mapping[str, Part], unseen: Sequence[Case], setting: Setting) -> Outcome:
    """Row ``pooled``: one model, all cases; it takes as many steps as each site's model of a federation."""
    plan = plan_of("fedavg", tuple(members), setting)
    site = common_site(plan, members, setting)
    _learn(site, setting)
    outcome = Outcome(steps=dict.fromkeys(members, site.steps))
    for name, parts in members.items():
        outcome.dice["pooled", name, "test"] = mean(site.dice(site.served, parts["test"]))
        outcome.validated("pooled", name, site.dice(site.served, parts["val"]))
    if unseen:
        outcome.dice["pooled", "unseen", "unseen"] = mean(site.dice(site.served, unseen))
    return outcome


def _learn(site: LoneSite, setting: Setting) -> None:
    for _ in range(setting.rounds):
        site.learn()


def ensemble_dice(plan: Plan, models: Sequence[Tensors], cases: Sequence[Case], setting: Setting) -> float:
    """Dice of the mean of the models' probabilities; for the U-Net, whose network puts out one map per class."""
    networks: list[Any] = []
    for tensors in models[1:]:
        segmenter = segmenter_of(plan, setting)
        segmenter.load_adapter(tensors)
        networks.append(segmenter.network)

    def together(module: Any, given: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        others = [network(given[0]) for network in networks]
        return torch.stack([torch.softmax(one, dim=1) for one in (logits, *others)]).mean(dim=0).log()

    first = segmenter_of(plan, setting)
    judge = ModelSite("ensemble", plan, first, cases[:1], [])
    handle = first.network.register_forward_hook(together)
    try:
        return mean(judge.dice(models[0], cases))
    finally:
        handle.remove()
