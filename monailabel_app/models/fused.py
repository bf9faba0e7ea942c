"""Attention in one kernel instead of a product, a softmax and a product.

The same numbers up to rounding; measured in docs/explanation/speed.md. A module changes its class and
nothing else: names, parameters and adapters stay where they are.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import image_encoder, transformer
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FusedAttention", "FusedImageAttention", "fuse_decoder", "fuse_encoder", "plain_encoder"]


class FusedAttention(transformer.Attention):  # type: ignore[misc]
    """segment_anything's decoder attention over PyTorch's fused kernel."""

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
    if query.requires_grad:  # the way back through the kernel takes longer than what it saves for few queries
        mixed: Tensor = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(dim=-1) @ value
        return mixed
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


class FusedImageAttention(image_encoder.Attention):  # type: ignore[misc]
    """segment_anything's encoder attention over the fused kernel; relative positions become its mask."""

    def forward(self, x: Tensor) -> Tensor:
        """[n, rows, columns, dim] -> the same shape."""
        batch, rows, columns, _ = x.shape
        parts = self.qkv(x).reshape(batch, rows * columns, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mask = None
        if self.use_rel_pos:
            grid = query.reshape(batch, self.num_heads, rows, columns, -1)
            relative = image_encoder.get_rel_pos
            along = torch.einsum("bnhwc,hkc->bnhwk", grid, relative(rows, rows, self.rel_pos_h))
            across = torch.einsum("bnhwc,wkc->bnhwk", grid, relative(columns, columns, self.rel_pos_w))
            tokens = rows * columns
            mask = (along[..., :, None] + across[..., None, :]).reshape(batch, self.num_heads, tokens, tokens)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.scale)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, rows, columns, -1))
        return out


def fuse_encoder(network: Any) -> None:
    """Let a SAM's image encoder attend over the fused kernel; only quicker in float32."""
    for block in network.image_encoder.blocks:
        block.attn.__class__ = FusedImageAttention


def plain_encoder(network: Any) -> None:
    """Undo :func:`fuse_encoder`."""
    for block in network.image_encoder.blocks:
        block.attn.__class__ = image_encoder.Attention


def fuse_decoder(network: Any) -> None:
    """Let a SAM's mask decoder attend over the fused kernel."""
    decoder: nn.Module = network.mask_decoder
    for module in decoder.modules():
        if isinstance(module, transformer.Attention):
            module.__class__ = FusedAttention
