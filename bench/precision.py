"""Networks that compute in bfloat16: on CPUs with AMX a training step takes a little more than half the time.

Weights, optimiser and losses stay float32 (torch's automatic mixed precision). For benchmarks of Dice
only: bits depend on the CPU, so nothing that has to be reproduced elsewhere uses it.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import Sam

__all__ = ["PRECISIONS", "compute_in"]

PRECISIONS = ("float32", "bfloat16")


def compute_in(network: torch.nn.Module, precision: str) -> None:
    """Make a network's forward pass compute in a precision; what it puts out is float32.

    The class is changed, not the instance's ``forward``, so that copies of the network follow.

    Raises:
        SystemExit: the network is a SAM, whose parts are called one by one: it would stay in float32.
    """
    if precision == "float32":
        return
    if isinstance(network, Sam):
        raise SystemExit("only the U-Net computes in bfloat16: leave --precision out")
    kind = type(network)

    def forward(self: torch.nn.Module, *given: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return kind.forward(self, *given).float()

    network.to(memory_format=torch.channels_last)
    network.__class__ = type(kind.__name__, (kind,), {"forward": forward})
