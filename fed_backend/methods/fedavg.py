"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629), with LoRA products averaged exactly.

w <- sum_k (n_k / n) w_k. A LoRA pair is averaged as a product and factored back to its rank
(:mod:`fed_backend.lora`), which the plain mean of factors is not. The setting
``lora_average = "factors"`` chooses the plain mean instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fed_backend.errors import PlanError
from fed_backend.lora import average_products, pairs
from fed_backend.methods.base import Update
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = ["FedAvg", "weighted_mean", "weights_of"]


def weights_of(updates: Sequence[Update]) -> list[float]:
    """n_k / n per update; equal weights where no site counted an example."""
    total = sum(u.examples for u in updates)
    return [u.examples / total if total else 1 / len(updates) for u in updates]


def weighted_mean(updates: Sequence[Update], weights: Sequence[float], *, products: bool = True) -> Tensors:
    """``sum_k weights_k w_k`` over all tensors, accumulated in float64 in order of site names.

    Args:
        updates: one per site, with equal names and shapes.
        weights: one per update, summing to 1.
        products: average LoRA pairs as products (see :mod:`fed_backend.lora`).

    Raises:
        ValueError: no update, a site twice, or names or shapes that differ.
    """
    if not updates:
        raise ValueError("nothing to average: no update")
    order = sorted(range(len(updates)), key=lambda k: updates[k].site)
    updates = [updates[k] for k in order]
    weights = [weights[k] for k in order]
    sites = [u.site for u in updates]
    if len(set(sites)) != len(sites):
        raise ValueError(f"two updates from one site: {sites}")
    first = updates[0].tensors
    for update in updates:
        if {n: t.shape for n, t in update.tensors.items()} != {n: t.shape for n, t in first.items()}:
            raise ValueError(f"the update of {update.site!r} does not match that of {updates[0].site!r}")
    result: Tensors = {}
    if products:
        for a, b in pairs(list(first)):
            factors = [(u.tensors[a], u.tensors[b]) for u in updates]
            result[a], result[b] = average_products(factors, weights)
    for name in sorted(first.keys() - result.keys()):
        total = np.zeros(first[name].shape, dtype=np.float64)
        for update, weight in zip(updates, weights, strict=True):
            total += weight * update.tensors[name]
        result[name] = total.astype(np.float32)
    return result


class FedAvg:
    """One global adapter: every site is offered the example-weighted mean."""

    name = "fedavg"

    def __init__(self, plan: Plan) -> None:
        self._keys = frozenset(plan.adapter)
        average = plan.method.settings.get("lora_average", "products")
        if average not in {"products", "factors"}:
            raise PlanError(f"lora_average is {average!r}", "choose 'products' or 'factors'")
        self._products = average == "products"

    def shared_keys(self) -> frozenset[str]:
        return self._keys

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        mean = weighted_mean(updates, weights_of(updates), products=self._products)
        return {update.site: mean for update in updates}
