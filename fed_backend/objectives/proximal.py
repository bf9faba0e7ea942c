"""The proximal term of FedProx (Li et al. 2020, arXiv 1812.06127, eq. 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["proximal_pull"]


def proximal_pull(parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], mu: float) -> Tensor:
    """``mu / 2 * |w - w_start|^2``, a scalar to add to the local loss.

    Args:
        parameters: name -> tensor under training.
        start: the same names, as received; not differentiated.
        mu: strength of the pull; 0 gives exactly 0.

    Raises:
        KeyError: a parameter has no start.
        ValueError: no parameter.
    """
    if not parameters:
        raise ValueError("there is no parameter to pull")
    distances = [(tensor - start[name].detach()).square().sum() for name, tensor in parameters.items()]
    return mu / 2 * torch.stack(distances).sum()
