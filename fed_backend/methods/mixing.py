"""Checked updates, and weighted sums of them: the numeric core that all methods share.

Sums run in float64 in order of site names, so that the order of arrival changes no bit. LoRA pairs
are mixed as products and factored back (:mod:`fed_backend.lora`) unless told otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fed_backend.lora import ProductSum, pairs
from fed_backend.methods.base import Update
from fed_backend.payload import Tensors

__all__ = ["WeightedSum", "check", "checked", "mix", "parts_of", "select", "weighted_mean", "weights_of"]

Weights = npt.NDArray[np.float64]
_BLOCK = 2**16
"""Values that are added at a time: their products stay in the processor's cache, in memory that is there already."""


def checked(updates: Sequence[Update], shapes: Mapping[str, tuple[int, ...]]) -> list[Update]:
    """The updates in order of site names, once each is known to be usable.

    Args:
        updates: in any order.
        shapes: name -> shape of every tensor that an update must hold, and of no other.

    Raises:
        ValueError: naming the site, and the tensor that is missing, foreign, misshapen or not finite.
    """
    if not updates:
        raise ValueError("nothing to average: no update")
    ordered = sorted(updates, key=lambda u: u.site)
    sites = [u.site for u in ordered]
    if len(set(sites)) != len(sites):
        raise ValueError(f"two updates from one site: {sites}")
    for update in ordered:
        check(update, shapes)
    return ordered


def check(update: Update, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an update that is not usable.

    Raises:
        ValueError: as in :func:`checked`.
    """
    who = f"the update of {update.site!r}"
    if update.examples < 0:
        raise ValueError(f"{who} counts {update.examples} examples")
    if missing := sorted(shapes.keys() - update.tensors.keys()):
        raise ValueError(f"{who} does not match the plan: tensor {missing[0]!r} is missing")
    if foreign := sorted(update.tensors.keys() - shapes.keys()):
        raise ValueError(f"{who} does not match the plan: tensor {foreign[0]!r} may not travel")
    for name, shape in sorted(shapes.items()):
        tensor = update.tensors[name]
        if tensor.shape != tuple(shape):
            raise ValueError(
                f"{who} does not match the plan: tensor {name!r} has shape {tensor.shape}, not {tuple(shape)}"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"{who} holds NaN or infinity in tensor {name!r}")


def select(updates: Sequence[Update], prefix: str) -> list[Update]:
    """The updates with only the tensors whose names start with ``prefix``."""
    return [Update(u.site, {n: t for n, t in u.tensors.items() if n.startswith(prefix)}, u.examples) for u in updates]


def parts_of(
    shapes: Mapping[str, tuple[int, ...]], *, products: bool, values: int
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Split tensors into parts that can be summed one after the other; a LoRA pair stays together.

    Args:
        shapes: name -> shape.
        products: pairs are mixed as products.
        values: fewest values in a part, but for the last one.
    """
    partner = dict(pairs(list(shapes))) if products else {}
    seconds, part = set(partner.values()), dict[str, tuple[int, ...]]()
    for name in sorted(shapes.keys() - seconds):
        part |= {n: shapes[n] for n in (name, *([partner[name]] if name in partner else []))}
        if sum(math.prod(shape) for shape in part.values()) >= values:
            yield part
            part = {}
    if part:
        yield part


def weights_of(examples: Sequence[int]) -> list[float]:
    """n_k / n per site; equal weights where no site counted an example."""
    total = sum(examples)
    return [count / total if total else 1 / len(examples) for count in examples]


def weighted_mean(updates: Sequence[Update], weights: Sequence[float], *, products: bool = True) -> Tensors:
    """``sum_k weights_k w_k`` over all tensors.

    Args:
        updates: from :func:`checked`.
        weights: one per update.
        products: mix LoRA pairs as products.
    """
    total = WeightedSum({name: tensor.shape for name, tensor in updates[0].tensors.items()}, products=products)
    for update, weight in zip(updates, weights, strict=True):
        total.add(update, weight)
    return total.result()


class WeightedSum:
    """``sum_k weights_k w_k``, one update at a time: memory does not grow with the number of sites.

    Args:
        shapes: name -> shape of every tensor.
        products: sum LoRA pairs as products.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], *, products: bool = True) -> None:
        self._pairs = {pair: ProductSum() for pair in pairs(list(shapes))} if products else {}
        paired = {name for pair in self._pairs for name in pair}
        self._sums = {n: np.zeros(shapes[n], dtype=np.float64) for n in sorted(shapes.keys() - paired)}
        self._product = np.empty(_BLOCK)

    def add(self, update: Update, weight: float) -> None:
        """Add a checked update; the order decides about the last bits."""
        for (a, b), product in self._pairs.items():
            product.add(update.tensors[a], update.tensors[b], weight)
        for name, total in self._sums.items():
            given, whole = update.tensors[name].reshape(-1), total.reshape(-1)
            for at in range(0, whole.size, _BLOCK):
                part = whole[at : at + _BLOCK]
                part += np.multiply(weight, given[at : at + _BLOCK], out=self._product[: part.size], dtype=np.float64)

    def result(self) -> Tensors:
        """The sum, float32."""
        result = {name: total.astype(np.float32) for name, total in self._sums.items()}
        for (a, b), product in self._pairs.items():
            result[a], result[b] = product.factors()
        return result


def mix(updates: Sequence[Update], rows: Weights, *, products: bool = True) -> dict[str, Tensors]:
    """For every site its own weighted sum: site k gets ``sum_j rows[k, j] w_j``.

    A site whose row is 1 for itself and 0 for all others keeps its tensors as they are, bit by bit.

    Args:
        updates: K of them, from :func:`checked`.
        rows: [K, K], row k for the k-th update.
        products: mix LoRA pairs as products.
    """
    return {
        update.site: dict(update.tensors)
        if row[k] == 1 and np.count_nonzero(row) == 1
        else weighted_mean(updates, row.tolist(), products=products)
        for k, (update, row) in enumerate(zip(updates, rows, strict=True))
    }
