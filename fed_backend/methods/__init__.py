"""Federated methods by name: dictionaries of builders, one file per method.

:data:`METHODS` are those that a hub coordinates. The site's half of each is in
``monailabel_app/federation/halves``. The gossip method has no hub and no place here
(:mod:`fed_backend.methods.gcml`). Nothing in this package imports torch.
"""

from __future__ import annotations

from collections.abc import Callable

from fed_backend.errors import PlanError
from fed_backend.methods.base import Method, StatefulMethod, Update
from fed_backend.methods.fedavg import FedAvg
from fed_backend.methods.fedbn import FedBN
from fed_backend.methods.fedprox import FedProx
from fed_backend.methods.fedsca import FedSCA
from fed_backend.methods.fedsm import FedSM
from fed_backend.methods.pfedsam import PFedSAM
from fed_backend.plan import Plan

__all__ = ["METHODS", "Method", "StatefulMethod", "Update", "build_method"]

METHODS: dict[str, Callable[[Plan], Method]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedbn": FedBN,
    "fedsca": FedSCA,
    "fedsm": FedSM,
    "pfedsam": PFedSAM,
}


def build_method(plan: Plan) -> Method:
    """The plan's method.

    Raises:
        PlanError: no method of that name is installed, or its settings do not fit.
    """
    try:
        build = METHODS[plan.method.name]
    except KeyError:
        raise PlanError(
            f"no federated method is called {plan.method.name!r}", f"choose one of: {', '.join(sorted(METHODS))}"
        ) from None
    return build(plan)
