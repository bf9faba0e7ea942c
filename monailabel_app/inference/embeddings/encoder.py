"""SAM's image encoder in two parts: below the adapted blocks, and from there on.

The lower part depends on the base only. Between blocks the caller may let others go first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.models.device import sent

__all__ = ["Pause", "encode_lower", "encode_upper"]

Pause = Callable[[], None]


def _no_pause() -> None:
    pass


@torch.inference_mode()
def encode_lower(snapshot: Snapshot, image: Tensor, pause: Pause = _no_pause) -> Tensor:
    """Features at the input of the first adapted block.

    Args:
        snapshot: the network.
        image: [1, 3, size, size] float32 in 0..1, on the processor.
        pause: called between blocks; may wait, or raise to give up.

    Returns:
        [1, h, w, dim] in the encoder's number type, on its device.
    """
    network = snapshot.network
    encoder = network.image_encoder
    shown = network.preprocess(sent(image, snapshot.device) * 255)
    with snapshot.computing():
        features: Tensor = encoder.patch_embed(shown.to(encoder.patch_embed.proj.weight.dtype))
        if encoder.pos_embed is not None:
            features = features + encoder.pos_embed
        return _blocks(snapshot, features, range(snapshot.first_adapted), pause)


@torch.inference_mode()
def encode_upper(snapshot: Snapshot, lower: Tensor, pause: Pause = _no_pause) -> Tensor:
    """The encoder's output [1, dim, h, w] float32 from :func:`encode_lower`'s."""
    encoder = snapshot.network.image_encoder
    depth = len(encoder.blocks)
    with snapshot.computing():
        features = _blocks(snapshot, lower, range(snapshot.first_adapted, depth), pause)
        out: Tensor = encoder.neck(features.permute(0, 3, 1, 2))
    return out.float().contiguous()


def _blocks(snapshot: Snapshot, features: Tensor, chosen: range, pause: Pause) -> Tensor:
    blocks = snapshot.network.image_encoder.blocks
    for number in chosen:
        pause()
        features = blocks[number](features)
    return features
