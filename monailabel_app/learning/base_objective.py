"""What the embedded base is trained on: where a prompt points, and which object is meant there.

As in Kirillov et al. 2023 (arXiv 2304.02643, section A): three masks answer an ambiguous prompt and
only the best of them is trained, the predicted IoU is regressed, and further clicks correct the
mask before, which is given back as a dense prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monailabel_app.learning.base_prompts import corrected
from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.losses import soft_dice
from monailabel_app.models.decoding import decode_all
from monailabel_app.models.lora import PROMPT_TOKENS
from monailabel_app.models.prompting import SlicePrompt, mask_prompts, sparse_tokens

__all__ = ["ROUNDS", "answer", "embed", "joint_loss", "mask_loss", "prompt_tokens", "tie_positions"]

ROUNDS = (0.5, 0.35, 0.15)
"""Shares of the steps with no correction, one, and two; the first and the last answer are trained."""


def tie_positions(network: nn.Module, gain: float = 3.0) -> None:
    """Start cross-attention with equal query and key projections.

    Positions are coded alike in prompts and image, so a prompt then attends to its own place from
    the first step: on discs in noise, Dice 0.32 instead of 0.07 after 50 steps.
    """
    transformer = network.get_submodule("mask_decoder.transformer")
    with torch.no_grad():
        network.get_parameter("prompt_encoder.mask_downscaling.6.weight").mul_(gain)  # as strong as the picture
        network.get_parameter("prompt_encoder.no_mask_embed.weight").zero_()
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


def answer(
    network: nn.Module, features: Tensor, prompts: Sequence[SlicePrompt], before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """All masks [n, 4, 4 h, 4 w] and predicted IoU [n, 4] for prompts, as float32.

    Args:
        network: the SAM.
        features: [n, dim, h, w], one row per prompt.
        prompts: one per row.
        before: [n, 4 h, 4 w] logits of the masks before.
    """
    tokens, dense = prompt_tokens(network, prompts), mask_prompts(network, prompts, before)
    with torch.autocast(features.device.type, dtype=torch.bfloat16):
        logits, scores = decode_all(network, features, tokens, dense)
    return logits.float(), scores.float()


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice, plus the normalised focal loss (Sofiiuk et al. 2021, arXiv 2102.06583, section 3.3).

    Dividing by the sum of the focal weights keeps the gradient of small objects and of masks that
    are nearly right from vanishing, and unlike a balance of inside and outside it leaves the
    threshold at 0.

    Args:
        logits: [..., h, w].
        target: the same shape, in 0..1.

    Returns:
        One loss per mask [...].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside = torch.sigmoid(logits)
    with torch.no_grad():
        weight = (target - inside).square()
        weight /= weight.sum((-2, -1), keepdim=True) + 1
    return 1 - soft_dice(inside, target, (-2, -1)) + (entropy * weight).sum((-2, -1)) / 2


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
    truth = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None].to(features.device)
    low = F.interpolate(truth, size=(4 * features.shape[2], 4 * features.shape[3]), mode="area")
    logits, scores = answer(network, features, prompts)
    loss, seen = _answers(logits, scores, low)
    corrections = int(rng.choice(len(ROUNDS), p=ROUNDS))
    for last in reversed(range(corrections)):
        prompts = _corrected(seen, masks, prompts, rng)
        with torch.set_grad_enabled(last == 0):
            logits, scores = answer(network, features, prompts, seen)
        if last == 0:
            return loss + _answers(logits, scores, low)[0]
        seen = logits[:, 0].detach()
    return loss


def _answers(logits: Tensor, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of [n, 4, h, w] masks with their scores [n, 4], and the single masks, detached."""
    each = mask_loss(logits, target.expand_as(logits))
    with torch.no_grad():
        guess, object_ = logits > 0, target > 0.5
        iou = (guess & object_).sum((-2, -1)) / (guess | object_).sum((-2, -1)).clamp(min=1)
    loss = each[:, 0].mean() + each[:, 1:].min(dim=1).values.mean() + F.mse_loss(scores, iou)
    return loss, logits[:, 0].detach()


def _corrected(
    seen: Tensor, masks: Sequence[Mask], prompts: Sequence[SlicePrompt], rng: np.random.Generator
) -> list[SlicePrompt]:
    size = masks[0].shape
    shown = (F.interpolate(seen[:, None], size=size, mode="bilinear")[:, 0] > 0).cpu().numpy()
    return [corrected(s, m, p, rng) for s, m, p in zip(shown, masks, prompts, strict=True)]
