"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629), with LoRA products averaged exactly.

w <- sum_k (n_k / n) w_k. A LoRA pair is averaged as a product and factored back to its rank
(:mod:`fed_backend.lora`), which the plain mean of factors is not. The setting
``lora_average = "factors"`` chooses the plain mean instead, which is exact only where every site
keeps the same A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fed_backend.methods.base import Update
from fed_backend.methods.mixing import checked, weighted_mean, weights_of
from fed_backend.methods.settings import Settings
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = ["Averaging", "FedAvg"]


class Averaging:
    """One global state of some tensors: every site is offered their example-weighted mean.

    Args:
        shapes: name -> shape of the tensors that leave a site.
        products: average LoRA pairs as products.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], *, products: bool) -> None:
        self._shapes = dict(shapes)
        self._products = products

    def shared_keys(self) -> frozenset[str]:
        return frozenset(self._shapes)

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        updates = checked(updates, self._shapes)
        mean = weighted_mean(updates, weights_of(updates), products=self._products)
        return {update.site: mean for update in updates}


class FedAvg(Averaging):
    """The mean of all tensors of the plan."""

    name = "fedavg"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.adapter, products=Settings(plan, "lora_average").products())
