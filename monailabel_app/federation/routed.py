"""A model that may be two: FedSM's selector decides, image by image, whether the personal or the global one answers.

A version of FedSM holds the personal model under the plain names, and beside it (``routing/...``)
the global model, the selector, the threshold gamma, and the selector's class of this site. Prompts,
and training on corrections, use the personal model: whoever reads plain names needs not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fed_backend.methods.fedsm import HEAD_BIAS
from fed_backend.objectives.routing import probabilities, route
from fed_backend.objectives.selector import Selector
from fed_backend.payload import Tensors
from monailabel_app.errors import AdapterError
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.adapter import BESIDE
from monailabel_app.models.base import Answer, Cases, Labelmap, Objective, Progress, Prompts, Segmenter, no_progress
from monailabel_app.models.slices import Slices

__all__ = ["SIDE", "RoutedSegmenter", "routing_of", "seen_by_selector", "shares_of"]

SIDE = 64
"""Side in pixels of the slices that the selector sees."""
_GLOBAL, _SELECTOR, _GAMMA, _OWN = (BESIDE + part for part in ("global/", "selector/", "gamma", "own"))

Array = npt.NDArray[Any]


def routing_of(common: Tensors, selector: Tensors, gamma: float, own: int) -> Tensors:
    """What stands beside the personal model in a version.

    Args:
        common: the global model, by plain names.
        selector: the selector's parameters.
        gamma: share of this site above which the personal model answers.
        own: the selector's class of this site.
    """
    return {
        **{_GLOBAL + name: tensor for name, tensor in common.items()},
        **{_SELECTOR + name: tensor for name, tensor in selector.items()},
        _GAMMA: np.asarray([gamma], np.float32),
        _OWN: np.asarray([own], np.float32),
    }


def seen_by_selector(volumes: Sequence[Volume]) -> Tensor:
    """All slices of some volumes as the selector sees them: [n, 1, SIDE, SIDE], about standard normal."""
    shown = []
    for volume in volumes:
        slices = Slices(volume, SIDE)
        shown += [(slices.images(part) - slices.window.mean) / slices.window.std for part in slices.chunks(1)]
    return torch.cat(shown)


def shares_of(selector: Mapping[str, Array], volume: Volume) -> npt.NDArray[np.float64]:
    """The selector's opinion of a volume: [sites], sums to 1.

    Raises:
        AdapterError: the tensors are not those of a selector.
    """
    network = Selector(len(selector[HEAD_BIAS]) if HEAD_BIAS in selector else 1).eval()
    try:
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in selector.items()})
    except RuntimeError:
        raise AdapterError("the selector in a version does not fit this program", "promote another version") from None
    with torch.inference_mode():
        return probabilities(network(seen_by_selector([volume])).numpy())


class RoutedSegmenter:
    """A segmenter that routes when the loaded version holds more than one model.

    Args:
        inner: the model; this class owns its adapter.

    Attributes:
        answer: who answered the last automatic segmentation; ``None`` where nothing was to choose.
    """

    def __init__(self, inner: Segmenter) -> None:
        self._inner = inner
        self._personal: Tensors = {}
        self._routing: Tensors = {}
        self.spec, self.labels, self.base_sha256 = inner.spec, inner.labels, inner.base_sha256
        self.answer: Answer | None = None

    def adapter_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._inner.adapter_shapes()

    def adapter(self) -> Tensors:
        return self._inner.adapter()

    def load_adapter(self, tensors: Mapping[str, Array]) -> None:
        self._inner.load_adapter(tensors)
        self._routing = {name: tensor for name, tensor in tensors.items() if name.startswith(BESIDE)}
        self._personal = {name: t for name, t in tensors.items() if name not in self._routing} if self._routing else {}

    def segment(self, volume: Volume, progress: Progress = no_progress) -> Labelmap:
        self.answer = None
        if not self._routing:
            return self._inner.segment(volume, progress)
        self.answer = self._choose(volume)
        if self.answer.model == "personal":
            return self._inner.segment(volume, progress)
        try:
            self._inner.load_adapter(_without(self._routing, _GLOBAL))
            return self._inner.segment(volume, progress)
        finally:
            self._inner.load_adapter(self._personal)

    def prompt(self, volume: Volume, prompts: Sequence[Prompts]) -> Labelmap:
        self.answer = None
        return self._inner.prompt(volume, prompts)

    def train_steps(self, cases: Cases, **settings: Any) -> Iterator[float]:
        self._routing = {}  # what is trained is one model
        return self._inner.train_steps(cases, **settings)

    def objective(self, cases: Cases, *, batch_size: int, seed: int) -> Objective:
        return self._inner.objective(cases, batch_size=batch_size, seed=seed)

    @property
    def network(self) -> Any:
        return self._inner.network

    @property
    def trainable(self) -> Any:
        return self._inner.trainable

    def _choose(self, volume: Volume) -> Answer:
        shares = shares_of(_without(self._routing, _SELECTOR), volume)
        own, gamma = int(self._routing[_OWN][0]), float(self._routing[_GAMMA][0])
        chosen = route(shares, own, gamma)
        return Answer("personal" if chosen.personal else "global", chosen.confidence, chosen.likeliest)


def _without(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
