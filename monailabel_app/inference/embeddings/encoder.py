"""SAM's image encoder in two parts, on a snapshot: in its number type, on its device.

Between blocks the caller may let others go first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.models import encoder
from monailabel_app.models.device import sent
from monailabel_app.models.encoder import Pause, no_pause

__all__ = ["encode_lower", "encode_upper"]


@torch.inference_mode()
def encode_lower(snapshot: Snapshot, image: Tensor, pause: Pause = no_pause) -> Tensor:
    """Features at the input of the first adapted block.

    Args:
        snapshot: the network.
        image: [1, 3, size, size] float32 in 0..1, on the processor.
        pause: called between blocks; may wait, or raise to give up.

    Returns:
        [1, h, w, dim] in the encoder's number type, on its device.
    """
    network = snapshot.network
    shown = network.preprocess(sent(image, snapshot.device) * 255)
    with snapshot.computing():
        shown = shown.to(network.image_encoder.patch_embed.proj.weight.dtype)
        return encoder.encode_lower(network, shown, snapshot.first_adapted, pause)


@torch.inference_mode()
def encode_upper(snapshot: Snapshot, lower: Tensor, pause: Pause = no_pause) -> Tensor:
    """The encoder's output [1, dim, h, w] float32 from :func:`encode_lower`'s."""
    with snapshot.computing():
        out = encoder.encode_upper(snapshot.network, lower, snapshot.first_adapted, pause)
    return out.float().contiguous()
