"""The trainable tensors of a network under canonical names: read, checked, replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fed_backend.payload import Tensors
from monailabel_app.errors import AdapterError

__all__ = ["BESIDE", "Adapter", "normal_like"]

BESIDE = "routing/"
"""Prefix of tensors in a version that stand beside the model: other models, and what chooses between them."""


class Adapter:
    """Parameters by canonical name; the network's own tensors, not copies.

    Args:
        parameters: canonical name -> parameter, in a fixed order.
        pretrained: names of those that the base was trained with.

    Attributes:
        private: those that never leave their site, with the values that they take wherever a
            version lacks them.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], pretrained: Iterable[str] = ()) -> None:
        self.parameters = dict(parameters)
        self.pretrained = frozenset(pretrained)
        self.private: Tensors = {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the tensors that may travel."""
        return {name: tuple(p.shape) for name, p in self.parameters.items() if name not in self.private}

    def add_private(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Further tensors, which never leave their site; their values now are their initial ones."""
        self.private |= {name: _copy(parameter) for name, parameter in parameters.items()}
        self.parameters |= parameters

    @contextmanager
    def without_private(self) -> Iterator[None]:
        """Inside, the adapter is what it was before :meth:`add_private`: the rest is neither trained nor read."""
        parameters, private = self.parameters, self.private
        self.parameters, self.private = {n: p for n, p in parameters.items() if n not in private}, {}
        try:
            yield
        finally:
            self.parameters, self.private = parameters, private

    def read(self) -> Tensors:
        """A float32 copy of every tensor."""
        return {name: _copy(parameter) for name, parameter in self.parameters.items()}

    def write(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the named tensors; all are checked before the first is touched.

        Tensors beside a model (:data:`BESIDE`) are not for it and are passed over.

        Raises:
            AdapterError: an unknown name, a wrong shape, or a value that is not finite.
        """
        checked: dict[str, torch.Tensor] = {}
        for name, value in {**self.private, **tensors}.items():
            if name.startswith(BESIDE):
                continue
            known = self.parameters.get(name)
            if known is None:
                raise AdapterError(
                    f"adapter tensor {name!r} does not belong to this model",
                    "the tensors were made for another model or another set of labels",
                )
            if tuple(value.shape) != tuple(known.shape):
                raise AdapterError(
                    f"adapter tensor {name!r} has shape {tuple(value.shape)}, the model's has {tuple(known.shape)}"
                )
            array = np.asarray(value, dtype=np.float32)
            if not np.isfinite(array).all():
                raise AdapterError(
                    f"adapter tensor {name!r} holds NaN or infinity", "the training that made it diverged"
                )
            checked[name] = torch.from_numpy(array.copy())
        with torch.no_grad():
            for name, tensor in checked.items():
                self.parameters[name].copy_(tensor)


def _copy(parameter: torch.Tensor) -> npt.NDArray[np.float32]:
    """Float32, in C order whatever the network's memory format is: safetensors writes a numpy array as it lies."""
    return parameter.detach().numpy().astype(np.float32, order="C", copy=True)


def normal_like(parameter: torch.Tensor, std: float, rng: np.random.Generator) -> torch.Tensor:
    """Normal values from a numpy generator: the same on every platform and torch version."""
    return torch.from_numpy(rng.normal(0.0, std, tuple(parameter.shape)).astype(np.float32))
