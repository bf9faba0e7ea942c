"""pFedSAM (arXiv 2509.15638): the LoRA pairs are global, a localised mixture of experts stays home.

What the hub does is FedAvg on G. A site trains in two stages: A, experts off, G on the segmentation
loss; B, G frozen, its experts on the segmentation loss plus a distillation from G without experts
(:mod:`fed_backend.objectives.experts`, :mod:`fed_backend.objectives.distillation`). The paper gives
the split and the teacher; stage lengths, sizes and weights are settings of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from fed_backend.errors import PlanError
from fed_backend.lora import LORA_A, LORA_B
from fed_backend.methods.fedavg import Averaging
from fed_backend.methods.names import matching
from fed_backend.methods.settings import Settings
from fed_backend.plan import Plan

__all__ = ["EXPERTS", "PFedSAM", "PFedSAMSettings"]

EXPERTS = "experts"
"""Part of the dotted name of every tensor of an L-MoE."""


@dataclass(frozen=True)
class PFedSAMSettings:
    """What a site needs to know beyond the plan's training.

    Attributes:
        experts: experts of one L-MoE.
        width: hidden width of an expert.
        mu: weight of the distillation.
        temperature: T of the distillation.
        direction: ``forward`` is KL(teacher || student), ``reverse`` the other way round.
        balance: weight of the gate's load balance.
        stage_b: steps of the experts in a round, relative to the plan's steps, which train the shared part; 0 is
            FedAvg on the shared part.
    """

    experts: int
    width: int
    mu: float
    temperature: float
    direction: str
    balance: float
    stage_b: float


class PFedSAM(Averaging):
    """The example-weighted mean of the global part G.

    Settings:
        shared: shell patterns of G, with commas between them. Default: all LoRA pairs; for the
            U-Net, which has none, the whole adapter.
        experts, width, mu, temperature, direction, balance, stage_b: :class:`PFedSAMSettings`.
        lora_average: as in FedAvg.

    Raises:
        PlanError: the plan lists a tensor of the experts, or nothing would travel.
    """

    name = "pfedsam"

    def __init__(self, plan: Plan) -> None:
        names = ("shared", "experts", "width", "mu", "temperature", "direction", "balance", "stage_b", "lora_average")
        settings = Settings(plan, *names)
        if experts := sorted(name for name in plan.adapter if EXPERTS in name.split(".")):
            raise PlanError(
                f"the plan lets {experts[0]!r} travel ({len(experts)} such)",
                "leave the experts out of the plan's adapter: they never leave a site",
            )
        default = f"*{LORA_A},*{LORA_B}" if plan.model.name == "sam" else "*"
        patterns = settings.words("shared", default)
        shared = matching(plan.adapter, patterns)
        if not shared:
            raise PlanError(
                f"method 'pfedsam' shares {', '.join(patterns) or 'nothing'}, which matches no tensor of the plan",
                "name the global part in the setting 'shared', such as '*.attn.qkv.lora_*'",
            )
        self.settings = PFedSAMSettings(
            experts=settings.count("experts", 4, low=1),
            width=settings.count("width", 16, low=1),
            mu=settings.number("mu", 0.5, low=0),
            temperature=settings.number("temperature", 2.0, low=1e-3, high=1e3),
            direction=settings.choice("direction", "forward", ("forward", "reverse")),
            balance=settings.number("balance", 0.01, low=0),
            stage_b=settings.number("stage_b", 0.5, low=0, high=1),
        )
        super().__init__({name: plan.adapter[name] for name in shared}, products=settings.products())
