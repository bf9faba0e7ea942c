"""Methods that train one model: FedAvg, FedProx, FedBN, FedSCA. They differ in what is shared, and at the hub."""

from __future__ import annotations

from collections.abc import Mapping

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.federation.halves.base import Score, Work
from monailabel_app.imaging.volume import Volume

__all__ = ["OneModel"]


class OneModel:
    """See :class:`monailabel_app.federation.halves.base.SiteHalf`."""

    def __init__(self, training: TrainingSpec, shared: frozenset[str]) -> None:
        self.steps = training.steps
        self._training = training
        self._shared = shared

    def beginning(self, base: Tensors) -> Tensors:
        return {name: base[name] for name in self._shared}

    def train(self, work: Work, start: Tensors) -> Tensors:
        return work.fit(start, self._training)

    def version(self, tensors: Tensors, cases: Mapping[str, Volume], score: Score) -> Tensors:
        return tensors
