"""Federated methods by name: dictionaries of builders, one file per method.

:data:`METHODS` are those that a hub coordinates; the site's half of each is in
``monailabel_app/federation/halves``. :data:`GOSSIP` holds those of peers. Nothing in this package
imports torch.
"""

from __future__ import annotations

from collections.abc import Callable

from fed_backend.errors import PlanError
from fed_backend.lora import pairs
from fed_backend.methods.base import CheckingMethod, Method, StatefulMethod, Update
from fed_backend.methods.fedavg import Averaging, FedAvg
from fed_backend.methods.fedbn import FedBN
from fed_backend.methods.fedprox import FedProx
from fed_backend.methods.fedsca import FedSCA
from fed_backend.methods.fedsm import FedSM
from fed_backend.methods.gcml import GCML
from fed_backend.methods.pfedsam import PFedSAM
from fed_backend.methods.robust import check_robust
from fed_backend.plan import Plan

__all__ = [
    "GOSSIP",
    "METHODS",
    "CheckingMethod",
    "Method",
    "StatefulMethod",
    "Update",
    "build_method",
    "check_methods",
    "exact_of",
]

METHODS: dict[str, Callable[[Plan], Method]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedbn": FedBN,
    "fedsca": FedSCA,
    "fedsm": FedSM,
    "pfedsam": PFedSAM,
}


GOSSIP: dict[str, Callable[[Plan], GCML]] = {"gcml": GCML}
"""Methods without a hub: a plan of theirs is for peers, and lists no alternative."""


def build_method(plan: Plan) -> Method:
    """The plan's method.

    Raises:
        PlanError: no method of that name is installed, its settings do not fit, or the plan's robust
            or secure aggregation does not go with it.
    """
    try:
        build = METHODS[plan.method.name]
    except KeyError:
        raise PlanError(
            f"no federated method is called {plan.method.name!r}", f"choose one of: {', '.join(sorted(METHODS))}"
        ) from None
    method = build(plan)
    check_robust(plan, method)
    if plan.privacy is not None and not getattr(method, "bears_noise", True):
        raise PlanError(
            f"method {plan.method.name!r} bears no noise on its updates",
            "leave privacy out, or choose a method of models alone (fedavg, fedprox, fedbn, fedsca, pfedsam)",
        )
    _check_sums(plan, method)
    return method


def _check_sums(plan: Plan, method: Method) -> None:
    """Refuse a method whose aggregate is no weighted sum of what the sites send."""
    if plan.secure is None:
        return
    if not isinstance(method, Averaging):
        raise PlanError(
            f"method {method.name!r} needs single updates, which secure hides from the hub",
            "leave secure out, or choose a method of one mean (fedavg, fedprox, fedbn, pfedsam)",
        )
    if method.products and pairs(list(method.shapes)):
        raise PlanError(
            f"method {method.name!r} averages LoRA pairs as products, which is no sum of what is sent",
            "set lora_average=factors, or leave secure out",
        )


def check_methods(plan: Plan) -> None:
    """Refuse a plan that one of its methods does not accept.

    Raises:
        PlanError: naming what does not fit.
    """
    if plan.method.name in GOSSIP:
        GOSSIP[plan.method.name](plan)
        if plan.robust is not None:
            raise PlanError(
                f"method {plan.method.name!r} has no hub that could aggregate robustly",
                "leave robust out: what a visitor brings passes the receiver's own validation cases",
            )
        if plan.privacy is not None:
            raise PlanError(f"method {plan.method.name!r} sends whole models, without noise", "leave privacy out")
        if plan.secure is not None:
            raise PlanError(f"method {plan.method.name!r} has no hub that could see a sum", "leave secure out")
        if plan.alternatives:
            raise PlanError(
                f"method {plan.method.name!r} has no hub, so no rounds could be started with an alternative",
                "make a plan of its own for each",
            )
        return
    for name in plan.methods:
        build_method(plan.under(name))


def exact_of(method: Method) -> tuple[str, ...]:
    """Prefixes of the tensors that a method needs as float32, whatever encoding the plan names."""
    return tuple(getattr(method, "exact", ()))
