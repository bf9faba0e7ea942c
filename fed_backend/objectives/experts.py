"""The localised mixture of experts (L-MoE) of pFedSAM (arXiv 2509.15638); it never leaves its site.

    x + sum_e g_e(x) Up_e(GELU(Down_e x)),  g = softmax(gate(mean of the tokens))

The paper gives the idea of local experts beside a global adapter; this layout is a choice of ours.
Up starts at zero, so an untrained module is the identity and the student equals its teacher.
For SAM a token is a position of the encoder's map; for the U-Net, a voxel of the bottleneck.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LocalExperts", "load_balance", "without_experts"]


class LocalExperts(nn.Module):
    """One L-MoE beside the residual stream of a block.

    Args:
        channels: size of a token.
        experts: number of experts E.
        width: hidden width of each.
        channel_dim: where the channels are: -1 for tokens [b, ..., c], 1 for maps [b, c, ...].
        seed: of the initial Down; equal seeds give equal modules.

    Attributes:
        enabled: off, the module passes its input through (stage A, and the teacher).
        gates: [b, E] of the last enabled pass, for :func:`load_balance`; ``None`` before it.
    """

    def __init__(
        self, channels: int, *, experts: int = 4, width: int = 16, channel_dim: int = -1, seed: int = 0
    ) -> None:
        super().__init__()
        if min(channels, experts, width) < 1 or channel_dim not in (-1, 1):
            raise ValueError(f"L-MoE of {experts} experts, {channels} to {width} channels, at {channel_dim}")
        generator = torch.Generator().manual_seed(seed)
        self.down = nn.Parameter(torch.randn(experts, width, channels, generator=generator) / channels**0.5)
        self.down_bias = nn.Parameter(torch.zeros(experts, width))
        self.up = nn.Parameter(torch.zeros(experts, channels, width))
        self.gate = nn.Linear(channels, experts)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.channel_dim = channel_dim
        self.enabled = True
        self.gates: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return x
        tokens = x.movedim(self.channel_dim, -1)
        flat = tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])
        gates = torch.softmax(self.gate(flat.mean(dim=1)), dim=-1)
        self.gates = gates
        hidden = F.gelu(torch.einsum("bnc,ewc->bnew", flat, self.down) + self.down_bias)
        change = torch.einsum("bnew,ecw,be->bnc", hidden, self.up, gates)
        return (tokens + change.reshape(tokens.shape)).movedim(-1, self.channel_dim)


def load_balance(gates: Tensor) -> Tensor:
    """``E * sum_e (mean over items of g_e)^2 - 1``: 0 where all experts are used alike, E - 1 where one is.

    Args:
        gates: [b, E], rows sum to 1.
    """
    return gates.shape[1] * gates.mean(dim=0).square().sum() - 1


@contextmanager
def without_experts(modules: Iterable[LocalExperts]) -> Iterator[None]:
    """Switch experts off: inside, the model is the teacher. Restores each as it was."""
    switched = [(module, module.enabled) for module in modules]
    try:
        for module, _ in switched:
            module.enabled = False
        yield
    finally:
        for module, enabled in switched:
            module.enabled = enabled
