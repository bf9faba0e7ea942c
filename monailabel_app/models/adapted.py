"""What every model with an adapter does alike: read it, replace it, train it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
from torch import nn

from fed_backend.payload import Tensors
from monailabel_app.models.adapter import Adapter
from monailabel_app.models.base import Cases, Objective
from monailabel_app.models.steps import descend

__all__ = ["Adapted"]


class Adapted:
    """A part of :class:`monailabel_app.models.base.Segmenter`; the model sets the network and its adapter."""

    _network: nn.Module
    _adapter: Adapter

    def adapter(self) -> Tensors:
        return self._adapter.read()

    def load_adapter(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self._adapter.write(tensors)
        self._changed()

    def objective(self, cases: Cases, *, batch_size: int, seed: int) -> Objective:
        raise NotImplementedError

    def train_steps(
        self,
        cases: Cases,
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        proximal: float,
        seed: int,
    ) -> Iterator[float]:
        self._changed()
        yield from descend(
            self._network,
            self._adapter,
            self.objective(cases, batch_size=batch_size, seed=seed),
            steps=steps,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            proximal=proximal,
        )
        self._changed()

    @property
    def network(self) -> nn.Module:
        """The network, base and adapter; for reading only."""
        return self._network

    @property
    def trainable(self) -> Adapter:
        """The adapter's own tensors; for reading only."""
        return self._adapter

    def _changed(self) -> None:
        """The adapter is another one, or about to be: forget what was computed with it."""
