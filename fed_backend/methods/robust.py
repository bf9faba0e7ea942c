"""Aggregation that bears some hostile updates: clipping, trimmed mean, median, Krum.

Pure functions over tensors; updates are read one at a time, from the hub's disk, in order of site
names. LoRA pairs are compared and combined as products, as in :mod:`fed_backend.methods.mixing`,
because coordinates of single factors of two sites mean different things.

Which methods take what: those whose aggregate is one mean (FedAvg, FedProx, FedBN, pFedSAM) take
all. FedSCA gives every site a mix of its own, so a rule over all sites would undo it; its updates can
be clipped. FedSM takes none: each site trains another class of its selector, which every rule would
mistake for an attack, and Adam's moments are no coordinates to clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fed_backend.defences import RobustSpec
from fed_backend.errors import PlanError
from fed_backend.lora import factors_of, pairs
from fed_backend.methods.base import Method, Update
from fed_backend.methods.fedavg import Averaging
from fed_backend.methods.mixing import check
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = ["Robust", "change", "check_robust", "clipped", "krum_scores", "robust_mean", "trimmed_mean"]

Wide = npt.NDArray[np.float64]

_PRODUCT = "product of "


@dataclass(frozen=True)
class Robust:
    """An aggregate, and what was done with whose update: site -> a phrase; who is not named counted in full."""

    tensors: Tensors
    notes: dict[str, str] = field(default_factory=dict)


def check_robust(plan: Plan, method: Method) -> None:
    """Refuse a plan whose method does not go with its robust aggregation.

    Raises:
        PlanError: naming what does not go together.
    """
    spec = plan.robust
    suits = frozenset(getattr(method, "defences", ()))
    if spec is None or spec.parts <= suits:
        return
    wrong = ", ".join(sorted(spec.parts - suits))
    others = f"it takes {', '.join(sorted(suits))}" if suits else "it takes no robust aggregation"
    raise PlanError(
        f"method {method.name!r} cannot be combined with robust {wrong}",
        f"{others}; methods of one mean (fedavg, fedprox, fedbn, pfedsam) take everything",
    )


def change(tensors: Mapping[str, npt.NDArray[np.float32]], start: Mapping[str, npt.NDArray[np.float32]]) -> float:
    """L2 norm of ``tensors - start`` over all tensors; overflow is infinity."""
    with np.errstate(over="ignore"):
        total = sum(
            float(np.square(np.subtract(tensor, start[name], dtype=np.float64)).sum())
            for name, tensor in tensors.items()
        )
    return float(np.sqrt(total))


def clipped(tensors: Tensors, start: Tensors, limit: float) -> tuple[Tensors, float]:
    """``start + s (tensors - start)`` with ``s = min(1, limit / |tensors - start|)``.

    Returns:
        The tensors, float32 (themselves where s is 1), and s.
    """
    norm = change(tensors, start)
    if norm <= limit:
        return tensors, 1.0
    scale = limit / norm
    return {
        name: (start[name] + scale * np.subtract(tensor, start[name], dtype=np.float64)).astype(np.float32)
        for name, tensor in tensors.items()
    }, scale


def trimmed_mean(
    values: Iterable[Mapping[str, Wide]], trim: int
) -> tuple[dict[str, Wide], dict[str, tuple[Wide, Wide]]]:
    """Per coordinate, the mean of what is left without the ``trim`` lowest and highest values.

    A value that is trimmed never enters a sum, so its size does no harm. With ``trim`` the largest
    possible for n values, the result is the median. Memory: ``2 trim + 2`` of the values, not n.

    Args:
        values: n > 2 trim of them, each name -> array, of equal names and shapes.
        trim: >= 0.

    Returns:
        The mean, and the lowest and highest value that was kept.

    Raises:
        ValueError: too few values.
    """
    stacks: dict[str, list[Wide]] = {}
    sums: dict[str, Wide] = {}
    kept: dict[str, tuple[Wide, Wide]] = {}
    count = 0
    for value in values:
        count += 1
        for name, array in value.items():
            stack = stacks.setdefault(name, [])
            if len(stack) < 2 * trim:
                stack.append(np.array(array, dtype=np.float64))
                if len(stack) == 2 * trim:
                    stacks[name] = list(np.sort(np.stack(stack), axis=0))
                continue
            middle = _pushed(stack, np.array(array, dtype=np.float64), trim)
            sums[name] = sums[name] + middle if name in sums else middle
            low, high = kept.get(name, (middle, middle))
            kept[name] = (np.minimum(low, middle), np.maximum(high, middle))
    if count <= 2 * trim:
        raise ValueError(f"{count} updates are too few to leave out {trim} on either side")
    return {name: total / (count - 2 * trim) for name, total in sums.items()}, kept


def _pushed(stack: list[Wide], value: Wide, trim: int) -> Wide:
    """Let ``value`` take its place among the lowest (front) and highest (back); returns what falls out."""
    for place in range(trim):  # lowest first
        stack[place], value = np.minimum(stack[place], value), np.maximum(stack[place], value)
    for place in range(2 * trim - 1, trim - 1, -1):  # highest first
        stack[place], value = np.maximum(stack[place], value), np.minimum(stack[place], value)
    return value


def krum_scores(distances: Wide, hostile: int) -> Wide:
    """Krum's score of each update: the sum of squared distances to its ``n - f - 2`` nearest others.

    Args:
        distances: [n, n] squared Euclidean distances, symmetric.
        hostile: f >= 0, with n >= 2f + 3.

    Raises:
        ValueError: too few updates.
    """
    count = len(distances)
    if count < 2 * hostile + 3:
        raise ValueError(f"Krum bears {hostile} hostile of {2 * hostile + 3} updates or more; there are {count}")
    others = np.sort(distances + np.diag(np.full(count, np.inf)), axis=1)
    return np.asarray(others[:, : count - hostile - 2].sum(axis=1))


def robust_mean(method: Averaging, spec: RobustSpec, updates: Mapping[str, Tensors]) -> Robust:
    """What every site is offered in place of the mean.

    Args:
        method: whose tensors these are.
        spec: the rule.
        updates: site -> its tensors; read one at a time, and more than once.

    Raises:
        ValueError: fewer updates than the rule needs, or one that does not match the plan.
    """
    sites = sorted(updates)
    if len(sites) < spec.fewest:
        raise ValueError(f"the rule {spec.rule!r} needs {spec.fewest} updates; there are {len(sites)}")
    if spec.rule == "mean":
        return Robust(_plain_mean(method, updates, sites))
    if spec.rule in ("krum", "multi_krum"):
        return _krum(method, spec, updates, sites)
    trim = spec.hostile if spec.rule == "trimmed_mean" else (len(sites) - 1) // 2

    def read() -> Iterator[dict[str, Wide]]:
        return (_dense(_checked(method, site, updates[site]), products=method.products) for site in sites)

    mean, kept = trimmed_mean(read(), trim)
    shares = {site: _share_outside(value, kept) for site, value in zip(sites, read(), strict=True)}
    usual = 2 * trim / len(sites)  # were all sites alike
    notes = {
        site: f"{share:.0%} of its values were left out as the lowest or highest"
        for site, share in shares.items()
        if share > (1 + usual) / 2
    }
    return Robust(_factored(mean, method.shapes), notes)


def _krum(method: Averaging, spec: RobustSpec, updates: Mapping[str, Tensors], sites: list[str]) -> Robust:
    distances = np.zeros((len(sites), len(sites)))
    for i, one in enumerate(sites):
        first = _dense(_checked(method, one, updates[one]), products=method.products)
        for j in range(i + 1, len(sites)):
            second = _dense(_checked(method, sites[j], updates[sites[j]]), products=method.products)
            distances[i, j] = distances[j, i] = sum(float(np.square(first[n] - second[n]).sum()) for n in first)
    scores = krum_scores(distances, spec.hostile)
    count = 1 if spec.rule == "krum" else len(sites) - spec.hostile - 2
    chosen = sorted(sites[i] for i in np.argsort(scores, kind="stable")[:count])
    by_site = dict(zip(sites, np.sqrt(scores), strict=True))
    best = ", ".join(chosen)
    notes = {
        site: f"left out: {spec.rule} chose {best} (its distance to its neighbours is {by_site[site]:.3g}, "
        f"theirs at most {max(by_site[name] for name in chosen):.3g})"
        for site in sites
        if site not in chosen
    }
    if count == 1:
        return Robust({n: t.astype(np.float32) for n, t in sorted(updates[chosen[0]].items())}, notes)
    return Robust(_plain_mean(method, updates, chosen), notes)


def _plain_mean(method: Averaging, updates: Mapping[str, Tensors], sites: list[str]) -> Tensors:
    return method.mean(dict.fromkeys(sites, 1), (Update(site, updates[site], 1) for site in sites))


def _checked(method: Averaging, site: str, tensors: Tensors) -> Tensors:
    check(Update(site, tensors, 1), method.shapes)
    return tensors


def _dense(tensors: Tensors, *, products: bool) -> dict[str, Wide]:
    """All tensors in float64, LoRA pairs as ``B A`` under a name of their own."""
    wide = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    for a, b in pairs(list(tensors)) if products else []:
        wide[_PRODUCT + a] = wide.pop(b) @ wide.pop(a)
    return wide


def _factored(wide: Mapping[str, Wide], shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """The reverse of :func:`_dense`, products as their best factors."""
    result = {name: value.astype(np.float32) for name, value in wide.items() if not name.startswith(_PRODUCT)}
    for a, b in pairs(list(shapes)):
        if _PRODUCT + a in wide:
            result[a], result[b] = factors_of(wide[_PRODUCT + a], shapes[a][0])
    return result


def _share_outside(value: Mapping[str, Wide], kept: Mapping[str, tuple[Wide, Wide]]) -> float:
    outside = sum(int(((array < kept[n][0]) | (array > kept[n][1])).sum()) for n, array in value.items())
    return outside / sum(array.size for array in value.values())
