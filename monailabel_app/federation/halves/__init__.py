"""The site's half of each federated method: where it begins, how it trains, what its version holds."""

from __future__ import annotations

from fed_backend.methods import GOSSIP, build_method
from fed_backend.methods.fedprox import FedProx
from fed_backend.methods.fedsm import FedSM
from fed_backend.methods.pfedsam import PFedSAM
from fed_backend.plan import Plan
from monailabel_app.federation.halves.base import Score, SiteHalf, Work
from monailabel_app.federation.halves.one_model import OneModel
from monailabel_app.federation.halves.protected import Protected
from monailabel_app.models.base import Segmenter

__all__ = ["Score", "SiteHalf", "Work", "half_of", "prepare"]


def half_of(plan: Plan, site: str) -> SiteHalf:
    """The site's half of the plan's method; it protects what is shared where the plan asks for it.

    Raises:
        PlanError: the method is not installed, or its settings do not fit.
    """
    half = _plain_half(plan, site)
    return half if plan.privacy is None else Protected(half, plan.privacy, build_method(plan).shared_keys())


def _plain_half(plan: Plan, site: str) -> SiteHalf:
    if plan.method.name in GOSSIP:  # between exchanges a peer trains its one model
        return OneModel(plan.training, GOSSIP[plan.method.name](plan).shared_keys())
    method = build_method(plan)
    if isinstance(method, FedSM):
        from monailabel_app.federation.halves.three_models import ThreeModels  # torch

        return ThreeModels(plan, method, site)
    if isinstance(method, PFedSAM):
        from monailabel_app.federation.halves.local_experts import WithLocalExperts

        return WithLocalExperts(plan, method)
    training = method.training(plan.training) if isinstance(method, FedProx) else plan.training
    return OneModel(training, method.shared_keys())


def prepare(segmenter: Segmenter, plan: Plan | None) -> None:
    """Give a model what the methods of a plan add to it: the experts of pFedSAM. Harmless if repeated."""
    if plan is None or plan.model != segmenter.spec or plan.method.name in GOSSIP:
        return
    for name in plan.methods:
        method = build_method(plan.under(name))
        if isinstance(method, PFedSAM) and method.settings.stage_b > 0:
            from monailabel_app.models.experts import attach_experts

            attach_experts(segmenter, method.settings.experts, method.settings.width, plan.model.seed)
