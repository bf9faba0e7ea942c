"""SAM's image encoder in two parts: below the first adapted block, and from there on.

What lies below depends on the base only: it is the same for all adapters, and needs to be computed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Pause", "compact", "encode_lower", "encode_upper", "first_adapted_block", "no_pause"]

Pause = Callable[[], None]
"""Called between blocks; may wait, or raise to give up."""

_BLOCK = re.compile(r"^image_encoder\.blocks\.(\d+)\.")


def no_pause() -> None:
    """Go on at once."""


def first_adapted_block(names: Iterable[str], depth: int) -> int:
    """The lowest encoder block that an adapter touches; ``depth`` where it touches none.

    An adapted tensor of the encoder outside its blocks (patch or position embedding) counts as
    block 0: nothing below it can be kept.

    Args:
        names: canonical names of the adapter's tensors.
        depth: blocks of the encoder.
    """
    first = depth
    for name in names:
        if found := _BLOCK.match(name):
            first = min(first, int(found.group(1)))
        elif name.startswith("image_encoder.") and not name.startswith("image_encoder.neck"):
            first = 0
    return first


def encode_lower(network: Any, shown: Tensor, first: int, pause: Pause = no_pause) -> Tensor:
    """Features at the input of block ``first``.

    Args:
        network: a SAM.
        shown: [n, 3, size, size], preprocessed as the network wants it, in the encoder's number type.
        first: lowest adapted block.
        pause: see :data:`Pause`.

    Returns:
        [n, h, w, dim].
    """
    encoder = network.image_encoder
    features: Tensor = encoder.patch_embed(shown)
    if encoder.pos_embed is not None:
        features = features + encoder.pos_embed
    return _blocks(encoder, features, range(first), pause)


def encode_upper(network: Any, lower: Tensor, first: int, pause: Pause = no_pause) -> Tensor:
    """The encoder's output [n, dim, h, w] from :func:`encode_lower`'s."""
    encoder = network.image_encoder
    features = _blocks(encoder, lower, range(first, len(encoder.blocks)), pause)
    return _neck(encoder, features)


def compact(features: Tensor) -> Tensor:
    """Float32 as float16, for keeping, where nothing is beyond its 65504; anything else as it is."""
    if features.dtype != torch.float32:
        return features
    small = features.to(torch.float16)
    return small if torch.isfinite(small).all() else features


def _neck(encoder: Any, features: Tensor) -> Tensor:
    """The neck over [n, h, w, dim], positions as rows: SAM's own normalises channel by channel in eight passes."""
    narrow, norm, wide, last = encoder.neck
    rows = _normal(F.linear(features, narrow.weight.flatten(1)), norm)
    out: Tensor = wide(rows.permute(0, 3, 1, 2))
    return _normal(out.permute(0, 2, 3, 1), last).permute(0, 3, 1, 2)


def _normal(rows: Tensor, norm: Any) -> Tensor:
    return F.layer_norm(rows, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _blocks(encoder: Any, features: Tensor, chosen: range, pause: Pause) -> Tensor:
    for number in chosen:
        pause()
        features = encoder.blocks[number](features)
    return features
