"""What the embedded base is trained on: where a prompt points, and which object is meant there.

As in Kirillov et al. 2023 (arXiv 2304.02643, section A): three masks answer an ambiguous prompt and
only the best of them is trained, the predicted IoU is regressed, and a second prompt corrects the
mask before, which is given back as a dense prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.losses import soft_dice
from monailabel_app.models.lora import PROMPT_TOKENS
from monailabel_app.models.prompting import SlicePrompt, decode_all, simulate, sparse_tokens

__all__ = ["CORRECTED_SHARE", "embed", "joint_loss", "mask_loss", "prompt_tokens", "tie_positions"]

CORRECTED_SHARE = 0.5
"""Share of the steps with a second, correcting prompt."""


def tie_positions(network: nn.Module, gain: float = 3.0) -> None:
    """Start cross-attention with equal query and key projections.

    Positions are coded alike in prompts and image, so a prompt then attends to its own place from
    the first step: on discs in noise, Dice 0.32 instead of 0.07 after 50 steps.
    """
    transformer = network.get_submodule("mask_decoder.transformer")
    with torch.no_grad():
        for name, module in transformer.named_modules():
            if name.endswith(("cross_attn_token_to_image", "cross_attn_image_to_token", "final_attn_token_to_image")):
                query, key = module.get_submodule("q_proj"), module.get_submodule("k_proj")
                query.get_parameter("weight").mul_(gain)
                key.get_parameter("weight").copy_(query.get_parameter("weight"))
                query.get_parameter("bias").zero_()
                key.get_parameter("bias").zero_()


def embed(network: nn.Module, images: Tensor) -> Tensor:
    """Grey pictures [b, size, size] in 0..1 -> features [b, dim, h, w]."""
    shown = network.preprocess(images[:, None].expand(-1, 3, -1, -1) * 255)  # type: ignore[operator]
    features: Tensor = network.image_encoder(shown)  # type: ignore[operator]
    return features


def prompt_tokens(network: nn.Module, prompts: Sequence[SlicePrompt]) -> Tensor:
    """Tokens [n, tokens, dim], with "no point" in the place of a label's default prompt."""
    no_point = network.get_parameter("prompt_encoder.not_a_point_embed.weight").expand(PROMPT_TOKENS, -1)
    return sparse_tokens(network.prompt_encoder, prompts, [no_point] * len(prompts))  # type: ignore[arg-type]


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice, plus cross-entropy averaged inside and outside the object alike.

    Without that balance a small object hardly shows in the cross-entropy and nothing is learned.

    Args:
        logits: [..., h, w].
        target: the same shape, in 0..1.

    Returns:
        One loss per mask [...].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside = (entropy * target).sum((-2, -1)) / (target.sum((-2, -1)) + 1)
    outside = (entropy * (1 - target)).sum((-2, -1)) / ((1 - target).sum((-2, -1)) + 1)
    return 1 - soft_dice(torch.sigmoid(logits), target, (-2, -1)) + (inside + outside) / 2


def joint_loss(
    network: nn.Module,
    features: Tensor,
    prompts: Sequence[SlicePrompt],
    masks: Sequence[Mask],
    rng: np.random.Generator,
) -> Tensor:
    """Loss of a batch of prompts, each with its object.

    Args:
        network: the SAM.
        features: [n, dim, h, w], one row per prompt.
        prompts: the first prompt for each object.
        masks: the objects [size, size].
        rng: decides on corrections and where they are placed.
    """
    truth = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]
    low = F.interpolate(truth, size=(4 * features.shape[2], 4 * features.shape[3]), mode="area")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, scores = decode_all(network, features, prompt_tokens(network, prompts))
    loss, seen = _answers(logits.float(), scores.float(), low)
    if rng.random() >= CORRECTED_SHARE:
        return loss
    corrected = [
        _correction(guess, mask, prompt, rng) for guess, mask, prompt in zip(seen, masks, prompts, strict=True)
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, scores = decode_all(network, features, prompt_tokens(network, corrected), seen)
    return loss + _answers(logits.float(), scores.float(), low)[0]


def _answers(logits: Tensor, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of [n, 4, h, w] masks with their scores [n, 4], and the single masks, detached."""
    each = mask_loss(logits, target.expand_as(logits))
    with torch.no_grad():
        guess, object_ = logits > 0, target > 0.5
        iou = (guess & object_).sum((-2, -1)) / (guess | object_).sum((-2, -1)).clamp(min=1)
    loss = each[:, 0].mean() + each[:, 1:].min(dim=1).values.mean() + F.mse_loss(scores, iou)
    return loss, logits[:, 0].detach()


def _correction(guess: Tensor, mask: Mask, prompt: SlicePrompt, rng: np.random.Generator) -> SlicePrompt:
    """The prompt with one more click, where the mask before is wrong."""
    size = mask.shape[0]
    shown = (F.interpolate(guess[None, None], size=(size, size), mode="bilinear")[0, 0] > 0).numpy()
    wrong = shown ^ mask
    if not wrong.any():
        return prompt if prompt.points or prompt.box else simulate(mask, rng)
    rows, columns = np.nonzero(wrong)
    chosen = int(rng.integers(len(rows)))
    row, column = int(rows[chosen]), int(columns[chosen])
    return SlicePrompt((*prompt.points, (column + 0.5, row + 0.5, bool(mask[row, column]))), prompt.box)
