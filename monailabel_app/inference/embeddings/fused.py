"""The mask decoder's attention in one kernel instead of a product, a softmax and a product.

The same numbers up to rounding; measured in docs/explanation/speed.md.
"""

from __future__ import annotations

from typing import Any

from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FusedAttention", "fuse_decoder"]


class FusedAttention(nn.Module):
    """segment_anything's decoder attention over PyTorch's fused kernel.

    Args:
        plain: the module whose projections are used, not copied.
    """

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.num_heads: int = plain.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = plain.q_proj, plain.k_proj, plain.v_proj, plain.out_proj

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[n, queries, dim], [n, keys, dim], [n, keys, dim] -> [n, queries, dim]."""
        heads = [
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        ]
        mixed = F.scaled_dot_product_attention(*heads)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


def fuse_decoder(network: Any) -> None:
    """Replace the attention modules of a SAM's mask decoder, in place."""
    decoder: nn.Module = network.mask_decoder
    for name, module in list(decoder.named_modules()):
        if isinstance(module, Attention):
            parent, _, child = name.rpartition(".")
            setattr(decoder.get_submodule(parent), child, FusedAttention(module))
