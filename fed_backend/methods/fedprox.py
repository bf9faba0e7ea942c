"""FedProx (Li et al. 2020, arXiv 1812.06127): FedAvg with a pull towards the round's start.

A site minimises L(w) + mu/2 |w - w_global|^2. What the hub does with the results is FedAvg.
"""

from __future__ import annotations

from fed_backend.errors import PlanError
from fed_backend.methods.fedavg import Averaging
from fed_backend.methods.settings import Settings
from fed_backend.plan import Plan, TrainingSpec

__all__ = ["FedProx"]


class FedProx(Averaging):
    """FedAvg of adapters that were trained with a proximal term.

    Settings:
        mu: strength of the pull; ``training.proximal`` of the plan where it is not given.
        lora_average: as in FedAvg.

    Raises:
        PlanError: mu is 0, which would be FedAvg under another name.
    """

    name = "fedprox"

    def __init__(self, plan: Plan) -> None:
        settings = Settings(plan, "mu", "lora_average")
        super().__init__(plan.adapter, products=settings.products())
        self.mu = settings.number("mu", plan.training.proximal, low=0)
        if not self.mu > 0:
            raise PlanError(
                "method 'fedprox' has training.proximal = 0",
                "set mu or training.proximal (0.01 is a usual start), or choose the method 'fedavg'",
            )

    def training(self, agreed: TrainingSpec) -> TrainingSpec:
        """What a site does in a round: as agreed, with the pull."""
        return agreed.model_copy(update={"proximal": self.mu})
