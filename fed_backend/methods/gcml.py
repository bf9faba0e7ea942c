"""GCML (arXiv 2503.03883): gossip with contrast mutual learning; no hub, each model stays its site's.

One exchange: a site becomes a sender with a probability proportional to its data; it sends its
adapter to one random peer; the receiver lets the visitor and its own model learn from each other on
its own data (:mod:`fed_backend.objectives.dcml`), then keeps the best of own, visitor and their
size-weighted mean by its validation cases. Sender and peer choice follow the authors' earlier
gossip work; the merge is a choice of ours.

Every site draws for itself from (seed, its name, number of the exchange): nobody coordinates, and
equal seeds give equal exchanges. A transfer that is refused or does not arrive is dropped.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fed_backend.methods.base import Update
from fed_backend.methods.mixing import checked, weighted_mean, weights_of
from fed_backend.methods.settings import Settings
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = [
    "CANDIDATES",
    "GCML",
    "GCMLSettings",
    "choose_peer",
    "generator",
    "is_sender",
    "keep_best",
    "sender_probabilities",
]

_MONTH_S = 30 * 86400.0

CANDIDATES = ("own", "mean", "visitor")
"""What a receiver chooses from; the earlier wins a tie."""


def generator(seed: int, site: str, exchange: int) -> np.random.Generator:
    """The random numbers of one site in one exchange; the same on every machine."""
    key = int.from_bytes(hashlib.sha256(site.encode()).digest()[:8], "little")
    return np.random.default_rng((seed, key, exchange))


def sender_probabilities(examples: Mapping[str, int], share: float) -> dict[str, float]:
    """p_i = min(1, share K n_i / n): proportional to data size, ``share`` of the sites on average.

    Args:
        examples: site -> n_i; all equal where nobody counted any.
        share: expected share of senders in an exchange, in 0..1. Where p_i is cut at 1, fewer send.

    Raises:
        ValueError: a negative count, or ``share`` outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: it must lie in 0..1")
    if negative := [site for site, count in sorted(examples.items()) if count < 0]:
        raise ValueError(f"{negative[0]!r} counts {examples[negative[0]]} examples")
    total = sum(examples.values())
    if not total:
        return dict.fromkeys(examples, share)
    return {site: min(1.0, share * len(examples) * count / total) for site, count in examples.items()}


def is_sender(rng: np.random.Generator, probability: float) -> bool:
    """S_i ~ Bernoulli(p_i); takes one number from ``rng`` whatever the probability."""
    return bool(rng.random() < probability)


def choose_peer(rng: np.random.Generator, site: str, peers: Iterable[str]) -> str | None:
    """One of ``peers`` other than ``site``, all alike; ``None`` without any. Their order does not matter."""
    others = sorted(set(peers) - {site})
    return others[int(rng.integers(len(others)))] if others else None


def keep_best(scores: Mapping[str, float]) -> str:
    """The candidate with the highest score on the site's validation cases.

    Args:
        scores: candidate -> mean Dice; candidates without a score may be absent, NaN never wins.

    Returns:
        A name from :data:`CANDIDATES`; ``own`` where nothing could be judged, so that a site
        without validation cases takes nothing over unseen.
    """
    if foreign := sorted(scores.keys() - set(CANDIDATES)):
        raise ValueError(f"{foreign[0]!r} is no candidate: {', '.join(CANDIDATES)}")
    judged = {name: scores[name] for name in CANDIDATES if not math.isnan(scores.get(name, math.nan))}
    return max(judged, key=lambda name: judged[name], default="own")


@dataclass(frozen=True)
class GCMLSettings:
    """Settings of GCML.

    Attributes:
        share: expected share of senders in an exchange.
        weight: w of the contrast term in the local loss; 0 is local training and merge.
        beta: weight of the push away from a wrong teacher.
        bound: m, where the push stops.
        radius: voxels by which the foreground is dilated to the region Omega.
        interval_s: seconds between two exchanges that a site begins by itself; 0: only when asked.
        deadline_s: seconds that a visit may take, from sending it to the receiver's verdict.
    """

    share: float
    weight: float
    beta: float
    bound: float
    radius: int
    interval_s: float
    deadline_s: float


class GCML:
    """The plan's half of GCML: what travels, the settings, and the merge candidates.

    Settings:
        share: 0.25. weight: 1. beta: 0.1. bound: 1. radius: 3. lora_average: as in FedAvg.
        interval_s: 0. deadline_s: 1800.
    """

    name = "gcml"

    def __init__(self, plan: Plan) -> None:
        settings = Settings(
            plan, "share", "weight", "beta", "bound", "radius", "interval_s", "deadline_s", "lora_average"
        )
        self.settings = GCMLSettings(
            share=settings.number("share", 0.25, low=0, high=1),
            weight=settings.number("weight", 1.0, low=0),
            beta=settings.number("beta", 0.1, low=0),
            bound=settings.number("bound", 1.0, low=0),
            radius=settings.count("radius", 3),
            interval_s=settings.number("interval_s", 0.0, low=0, high=_MONTH_S),
            deadline_s=settings.number("deadline_s", 1800.0, low=1, high=_MONTH_S),
        )
        self._products = settings.products()
        self._shapes = dict(plan.adapter)

    def shared_keys(self) -> frozenset[str]:
        """The whole adapter travels, to one peer."""
        return frozenset(self._shapes)

    def candidates(self, own: Update, visitor: Update) -> dict[str, Tensors]:
        """What the receiver judges: its own tensors, the visitor's, and the size-weighted mean.

        Raises:
            ValueError: both come from one site, or either does not match the plan.
        """
        both = checked([own, visitor], self._shapes)
        mean = weighted_mean(both, weights_of([update.examples for update in both]), products=self._products)
        return {"own": dict(own.tensors), "mean": mean, "visitor": dict(visitor.tensors)}
