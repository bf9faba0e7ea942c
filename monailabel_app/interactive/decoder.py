"""Masks from prompts and features: SAM's decoder with all it has to offer.

Kirillov et al. 2023 (arXiv 2304.02643), sections 3 and A: three masks for an ambiguous first
prompt, ranked by their predicted IoU; the mask before as a further, dense prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from monailabel_app.inference.embeddings.snapshot import Snapshot
from monailabel_app.models.prompting import SURE, SlicePrompt, mask_prompts, sparse_tokens
from monailabel_app.models.slices import Fit

__all__ = ["Decoded", "decode_prompt", "full_mask", "logits_of"]


@dataclass(frozen=True)
class Decoded:
    """One mask.

    Attributes:
        logits: [4 h, 4 w] on the network's square, low resolution; in the processor's memory.
        score: predicted IoU, as the network gives it.
        choice: which mask it is: 0 is the single one, 1..3 those for ambiguous prompts.
    """

    logits: Tensor
    score: float
    choice: int


@torch.inference_mode()
def decode_prompt(
    snapshot: Snapshot,
    features: Tensor,
    label: str,
    prompt: SlicePrompt,
    *,
    before: Tensor | None = None,
    ambiguous: bool = False,
) -> Decoded:
    """The mask of one label on one slice.

    Args:
        snapshot: the network.
        features: [1, dim, h, w] of the slice.
        label: whose default prompt is put first.
        prompt: points and box on the network's square; may be empty with ``before``.
        before: [4 h, 4 w] logits of the mask before.
        ambiguous: take the best of the three masks for ambiguous prompts, by predicted IoU.
    """
    network = snapshot.network
    prompts, decoder = network.prompt_encoder, network.mask_decoder
    tokens = sparse_tokens(prompts, [prompt], [snapshot.defaults[label]])
    fixed = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    queries = torch.cat([fixed[None], tokens], dim=1)
    dense = mask_prompts(network, [prompt], None if before is None else before[None].to(snapshot.device))
    if dense is None:
        source = features + prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
    else:
        source = features + prompts._embed_masks(dense[:, None])
    out, image = decoder.transformer(source, snapshot.position, queries)
    scores = decoder.iou_prediction_head(out[:, 0])[0]
    choice = 1 + int(scores[1:].argmax()) if ambiguous else 0
    _, dim, rows, columns = features.shape
    upscaled = decoder.output_upscaling(image.transpose(1, 2).reshape(1, dim, rows, columns))
    weights = decoder.output_hypernetworks_mlps[choice](out[:, 1 + choice])
    logits = torch.einsum("c,chw->hw", weights[0], upscaled[0])
    return Decoded(logits.cpu(), float(scores[choice]), choice)


@torch.inference_mode()
def full_mask(fit: Fit, logits: Tensor) -> npt.NDArray[np.bool_]:
    """Logits of the square as a mask of the slice [rows, columns]."""
    mask: npt.NDArray[np.bool_] = (fit.expand(logits[None, None].float())[0, 0] > 0).numpy()
    return mask


@torch.inference_mode()
def logits_of(fit: Fit, mask: npt.NDArray[np.bool_], grid: tuple[int, int]) -> Tensor:
    """A mask of the slice [rows, columns] as logits [4 h, 4 w]: the mask prompt of an earlier mask."""
    rows, columns = 4 * grid[0], 4 * grid[1]
    inner = (max(1, round(fit.scaled[0] * rows / fit.size)), max(1, round(fit.scaled[1] * columns / fit.size)))
    shares = F.interpolate(torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None], size=inner, mode="area")
    top, left = round(fit.corner[0] * rows / fit.size), round(fit.corner[1] * columns / fit.size)
    small = F.pad(shares, (left, columns - left - inner[1], top, rows - top - inner[0]))[0, 0]
    return (2 * small - 1) * SURE
