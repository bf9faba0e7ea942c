"""Attention in one kernel instead of a product, a softmax and a product.

The same numbers up to rounding; measured in docs/explanation/speed.md.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling.image_encoder import get_rel_pos
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FusedAttention", "FusedImageAttention", "fuse_decoder", "fuse_encoder"]


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
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        )
        mixed = _few_keys(query, key, value) if 4 * k.shape[1] < q.shape[1] else _fused(query, key, value)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


def _few_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention [n, heads, queries, dim] where there are few keys, as when an image attends to its prompts.

    Scores lie as [keys, queries], so that the softmax runs along the many queries and not over a
    handful of keys 8192 times: a quarter of the fused kernel's time for 8 prompts.
    """
    scaled = query.transpose(-1, -2) * query.shape[-1] ** -0.5
    shares = (key @ scaled).softmax(dim=-2)
    mixed: Tensor = value.transpose(-1, -2) @ shares
    return mixed.transpose(-1, -2)


class FusedImageAttention(nn.Module):
    """segment_anything's encoder attention over the fused kernel; relative positions become its mask.

    Args:
        plain: the module whose parameters are used, not copied.
    """

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.num_heads: int = plain.num_heads
        self.scale: float = plain.scale
        self.qkv, self.proj = plain.qkv, plain.proj
        self.positions = (plain.rel_pos_h, plain.rel_pos_w) if plain.use_rel_pos else None

    def forward(self, x: Tensor) -> Tensor:
        """[n, rows, columns, dim] -> the same shape."""
        batch, rows, columns, _ = x.shape
        parts = self.qkv(x).reshape(batch, rows * columns, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mask = None
        if self.positions is not None:
            grid = query.reshape(batch, self.num_heads, rows, columns, -1)
            along = torch.einsum("bnhwc,hkc->bnhwk", grid, get_rel_pos(rows, rows, self.positions[0]))
            across = torch.einsum("bnhwc,wkc->bnhwk", grid, get_rel_pos(columns, columns, self.positions[1]))
            tokens = rows * columns
            mask = (along[..., :, None] + across[..., None, :]).reshape(batch, self.num_heads, tokens, tokens)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.scale)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, rows, columns, -1))
        return out


def fuse_encoder(network: Any) -> None:
    """Replace the attention modules of a SAM's image encoder, in place; only quicker in float32."""
    for block in network.image_encoder.blocks:
        block.attn = FusedImageAttention(block.attn)


def fuse_decoder(network: Any) -> None:
    """Replace the attention modules of a SAM's mask decoder, in place."""
    decoder: nn.Module = network.mask_decoder
    for name, module in list(decoder.named_modules()):
        if isinstance(module, Attention):
            parent, _, child = name.rpartition(".")
            setattr(decoder.get_submodule(parent), child, FusedAttention(module))
