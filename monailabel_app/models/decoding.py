"""Masks from features and prompts, many at once: SAM's mask decoder with positions as rows of matrices.

The same masks as segment_anything's own modules up to rounding. Its transposed convolutions have steps as long as
their kernels, so each is one matrix product per position; and maps are laid out channel by channel only at the
end, for the masks. That halves what a training step spends here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["decode", "decode_all"]


def decode(network: Any, embeddings: Tensor, tokens: Tensor, before: Tensor | None = None) -> Tensor:
    """SAM's single-mask path over a batch: one image and one prompt per row.

    segment_anything's own decoder repeats every image for every prompt; here row k of the images
    belongs to row k of the prompts.

    Args:
        network: the SAM.
        embeddings: [n, dim, h, w] from the image encoder.
        tokens: [n, tokens, dim].
        before: [n, 4 h, 4 w], see :func:`monailabel_app.models.prompting.mask_prompts`.

    Returns:
        Mask logits [n, 4 h, 4 w].
    """
    out, fine = _attend(network, embeddings, tokens, before)
    weights = network.mask_decoder.output_hypernetworks_mlps[0](out[:, 1])
    return _masks(fine, weights[:, None], embeddings.shape[-2:])[:, 0]


def decode_all(network: Any, embeddings: Tensor, tokens: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All masks that SAM offers, with the quality it predicts for them.

    Args:
        network: the SAM.
        embeddings: [n, dim, h, w].
        tokens: [n, tokens, dim].
        before: [n, 4 h, 4 w], see :func:`monailabel_app.models.prompting.mask_prompts`.

    Returns:
        Logits [n, 4, 4 h, 4 w] (the single mask, then the three for ambiguous prompts) and
        predicted IoU [n, 4].
    """
    out, fine = _attend(network, embeddings, tokens, before)
    decoder = network.mask_decoder
    weights = torch.stack([head(out[:, 1 + n]) for n, head in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    scores: Tensor = decoder.iou_prediction_head(out[:, 0])
    return _masks(fine, weights, embeddings.shape[-2:]), scores


def _attend(network: Any, embeddings: Tensor, tokens: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Output tokens [n, 5 + tokens, dim], and [n, h * w * 16, dim / 8]: features of the 16 pixels of each position."""
    decoder, prompts = network.mask_decoder, network.prompt_encoder
    count, _, rows, columns = embeddings.shape
    fixed = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    queries = torch.cat([fixed.expand(count, -1, -1), tokens], dim=1)
    dense = prompts.no_mask_embed.weight if before is None else _by_position(prompts._embed_masks(before[:, None]))
    source = _by_position(embeddings) + dense
    position = _by_position(prompts.get_dense_pe()).expand(count, -1, -1)
    # as maps, which the transformer turns back into positions; nothing is moved in memory
    maps = [part.transpose(1, 2).reshape(count, -1, rows, columns) for part in (source, position)]
    out, image = decoder.transformer(*maps, queries)
    first, norm, _, second, _ = decoder.output_upscaling
    fine = _doubled(image, first)
    fine = F.gelu(F.layer_norm(fine, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    return out, F.gelu(_doubled(fine, second))


def _by_position(maps: Tensor) -> Tensor:
    """[n, dim, h, w] -> [n, h * w, dim]."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def _doubled(features: Tensor, up: Any) -> Tensor:
    """A transposed convolution with kernel and step 2: [n, positions, dim] -> [n, positions * 4, channels].

    The four pixels of a position follow each other, row by row.
    """
    dim, channels = up.weight.shape[:2]
    weight = up.weight.permute(2, 3, 1, 0).reshape(4 * channels, dim)
    return F.linear(features, weight, up.bias.repeat(4)).reshape(len(features), -1, channels)


def _masks(fine: Tensor, weights: Tensor, grid: torch.Size) -> Tensor:
    """[n, h * w * 16, c] and [n, masks, c] -> logits [n, masks, 4 h, 4 w]."""
    rows, columns = grid
    values = weights @ fine.transpose(1, 2)  # a position, its pixel of 2 x 2, and of that again
    apart = values.reshape(*values.shape[:2], rows, columns, 2, 2, 2, 2)
    return apart.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*values.shape[:2], 4 * rows, 4 * columns)
