"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629), with LoRA products averaged exactly.

w <- sum_k (n_k / n) w_k. A LoRA pair is averaged as a product and factored back to its rank
(:mod:`fed_backend.lora`), which the plain mean of factors is not. The setting
``lora_average = "factors"`` chooses the plain mean instead, which is exact only where every site
keeps the same A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fed_backend.methods.base import Update
from fed_backend.methods.mixing import WeightedSum, check, checked, weights_of
from fed_backend.methods.settings import Settings
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = ["Averaging", "FedAvg"]


class Averaging:
    """One global state of some tensors: every site is offered their example-weighted mean.

    Args:
        shapes: name -> shape of the tensors that leave a site.
        products: average LoRA pairs as products.

    Attributes:
        shapes: as given.
        products: as given.
        defences: what a plan's robust aggregation may ask of it.
    """

    defences = ("clip", "krum", "max_change", "median", "multi_krum", "trimmed_mean")

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], *, products: bool) -> None:
        self.shapes = dict(shapes)
        self.products = products

    def shared_keys(self) -> frozenset[str]:
        return frozenset(self.shapes)

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        updates = checked(updates, self.shapes)
        mean = self.mean({update.site: update.examples for update in updates}, updates)
        return {update.site: mean for update in updates}

    def mean(self, examples: Mapping[str, int], updates: Iterable[Update]) -> Tensors:
        """What every site is offered, from updates that come one by one.

        Args:
            examples: site -> n_k of all updates that will come, >= 0.
            updates: one per site, in order of site names; only one is held at a time.

        Raises:
            ValueError: no update, one that does not match the plan, or not exactly those announced.
        """
        weights = dict(zip(sorted(examples), weights_of([examples[site] for site in sorted(examples)]), strict=True))
        total, awaited = WeightedSum(self.shapes, products=self.products), iter(sorted(examples))
        for update in updates:
            if update.site != (expected := next(awaited, None)):
                raise ValueError(f"the update of {update.site!r} came instead of {expected!r}")
            check(update, self.shapes)
            total.add(update, weights[update.site])
        if missing := next(awaited, None):
            raise ValueError(f"the update of {missing!r} did not come")
        if not weights:
            raise ValueError("nothing to average: no update")
        return total.result()


class FedAvg(Averaging):
    """The mean of all tensors of the plan."""

    name = "fedavg"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.adapter, products=Settings(plan, "lora_average").products())
