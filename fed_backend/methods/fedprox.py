"""FedProx (Li et al. 2020, arXiv 1812.06127): FedAvg with a pull towards the round's start.

A site minimises L(w) + mu/2 |w - w_global|^2; mu is ``training.proximal`` of the plan. What the
hub does with the results is FedAvg.
"""

from __future__ import annotations

from fed_backend.errors import PlanError
from fed_backend.methods.fedavg import FedAvg
from fed_backend.plan import Plan

__all__ = ["FedProx"]


class FedProx(FedAvg):
    """FedAvg of adapters that were trained with a proximal term.

    Raises:
        PlanError: ``training.proximal`` is 0, which would be FedAvg under another name.
    """

    name = "fedprox"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if not plan.training.proximal > 0:
            raise PlanError(
                "method 'fedprox' has training.proximal = 0",
                "set training.proximal (mu; 0.01 is a usual start), or choose the method 'fedavg'",
            )
