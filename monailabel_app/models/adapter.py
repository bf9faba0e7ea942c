"""The trainable tensors of a network under canonical names: read, checked, replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fed_backend.payload import Tensors
from monailabel_app.errors import AdapterError

__all__ = ["Adapter", "normal_like", "proximal_term"]


class Adapter:
    """Parameters by canonical name; the network's own tensors, not copies.

    Args:
        parameters: canonical name -> parameter, in a fixed order.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self.parameters = dict(parameters)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tuple(p.shape) for name, p in self.parameters.items()}

    def read(self) -> Tensors:
        """A float32 copy of every tensor."""
        return {name: p.detach().numpy().astype(np.float32, copy=True) for name, p in self.parameters.items()}

    def write(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the named tensors; all are checked before the first is touched.

        Raises:
            AdapterError: an unknown name, a wrong shape, or a value that is not finite.
        """
        checked: dict[str, torch.Tensor] = {}
        for name, value in tensors.items():
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


def proximal_term(adapter: Adapter, start: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """``1/2 |w - w_start|^2`` over the adapter (FedProx, arXiv 1812.06127, without its mu)."""
    distances = [(p - start[name]).square().sum() for name, p in adapter.parameters.items()]
    return torch.stack(distances).sum() / 2


def normal_like(parameter: torch.Tensor, std: float, rng: np.random.Generator) -> torch.Tensor:
    """Normal values from a numpy generator: the same on every platform and torch version."""
    return torch.from_numpy(rng.normal(0.0, std, tuple(parameter.shape)).astype(np.float32))
