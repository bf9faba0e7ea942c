"""Prompts as SAM takes them, and prompts as a hurried annotator would give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["SURE", "Mask", "SlicePrompt", "mask_prompts", "simulate", "sparse_tokens"]

Mask = npt.NDArray[np.bool_]

SURE = 8.0
"""Logit of a pixel that is known (drawn, or from an earlier mask) in the mask prompt."""
CLICKED, OUTSIDE, IN_BOX = 3.0, -1.0, 0.25
"""Values in a drawn mask prompt: at a click, out of a box, and in it where there is no mask before. That
mask lies within -1..1. Small values, as SAM normalises each pixel of the prompt after its first layer:
of large ones only the sign would be left."""
_DISC = tuple((y, x) for y in range(-2, 3) for x in range(-2, 3) if x * x + y * y <= 5)


@dataclass(frozen=True)
class SlicePrompt:
    """Prompts for one mask, on the network's square.

    Attributes:
        points: (x, y, inside) in pixels; the centre of the first pixel is (0.5, 0.5).
        box: (x0, y0, x1, y1) edges in pixels, or ``None``.
    """

    points: tuple[tuple[float, float, bool], ...] = ()
    box: tuple[float, float, float, float] | None = None


def sparse_tokens(encoder: nn.Module, prompts: Sequence[SlicePrompt], defaults: Sequence[Tensor]) -> Tensor:
    """Prompt tokens [prompts, tokens, dim]: the label's default tokens, then points, then box.

    Shorter prompts are filled up with SAM's "not a point" token.

    Args:
        encoder: SAM's prompt encoder.
        prompts: one per mask; may be empty (automatic mode).
        defaults: default tokens [tokens, dim] for each.
    """
    rows = []
    for prompt, default in zip(prompts, defaults, strict=True):
        parts = [default]
        if prompt.points:
            # SAM adds the half itself
            at = torch.tensor([[(x - 0.5, y - 0.5) for x, y, _ in prompt.points]], device=default.device)
            inside = torch.tensor([[float(i) for _, _, i in prompt.points]], device=default.device)
            parts.append(encoder._embed_points(at, inside, pad=False)[0])  # type: ignore[operator]
        if prompt.box is not None:
            parts.append(encoder._embed_boxes(torch.tensor([prompt.box], device=default.device) - 0.5)[0])  # type: ignore[operator]
        rows.append(torch.cat(parts))
    longest = max(len(row) for row in rows)
    filler = encoder.not_a_point_embed.weight  # type: ignore[union-attr]
    return torch.stack([torch.cat([row, filler.expand(longest - len(row), -1)]) for row in rows])  # type: ignore[operator]


def mask_prompts(network: nn.Module, prompts: Sequence[SlicePrompt], before: Tensor | None = None) -> Tensor | None:
    """The dense prompt: the masks before and, where the base was trained so, clicks and boxes drawn over them.

    A click as a disc in a map is what convolutional networks learn quickest from (Sofiiuk et al.
    2021, arXiv 2102.06583, section 3.1); SAM's mask prompt has room for it.

    Args:
        network: the SAM.
        prompts: one per mask; those without point and box give an empty map.
        before: [n, 4 h, 4 w] logits of the masks before; ``None`` without.

    Returns:
        [n, 4 h, 4 w], or ``before`` for a base that takes clicks and boxes as tokens only.
    """
    if not getattr(network, "draws_prompts", False):
        return before
    encoder = network.prompt_encoder
    rows, columns = (4 * n for n in encoder.image_embedding_size)  # type: ignore[union-attr]
    height, width = encoder.input_image_size  # type: ignore[union-attr, misc]
    if before is None:
        drawn = np.zeros((len(prompts), rows, columns), dtype=np.float32)
    else:
        drawn = (before.detach().float() / SURE).clamp(-1, 1).cpu().numpy()
    for one, prompt in zip(drawn, prompts, strict=True):
        if prompt.box is not None:
            x0, x1 = (np.clip(round(x * columns / width), 0, columns) for x in prompt.box[::2])
            y0, y1 = (np.clip(round(y * rows / height), 0, rows) for y in prompt.box[1::2])
            inside = one[y0:y1, x0:x1] + (IN_BOX if before is None else 0.0)
            one.fill(OUTSIDE)
            one[y0:y1, x0:x1] = inside
        for x, y, belongs in prompt.points:
            row, column = int(y * rows / height), int(x * columns / width)
            for down, right in _DISC:
                if 0 <= row + down < rows and 0 <= column + right < columns:
                    one[row + down, column + right] = CLICKED if belongs else -CLICKED
    where = encoder.no_mask_embed.weight.device  # type: ignore[union-attr]
    return torch.from_numpy(drawn).to(where)  # type: ignore[arg-type]


def simulate(mask: Mask, rng: np.random.Generator) -> SlicePrompt:
    """A prompt for a mask: clicks, a loose box, or both; some clicks outside beside the mask.

    Args:
        mask: [rows, columns], not empty.
        rng: source of all randomness.
    """
    kind = rng.random()
    points: list[tuple[float, float, bool]] = []
    if kind < 0.65:
        points += _clicks(mask, int(rng.integers(1, 4)), True, rng)
    if rng.random() < 0.4:
        near = _near(mask)
        if near.any():
            points += _clicks(near, int(rng.integers(1, 3)), False, rng)
    return SlicePrompt(tuple(points), _loose_box(mask, rng) if kind >= 0.45 else None)


def _clicks(mask: Mask, count: int, inside: bool, rng: np.random.Generator) -> list[tuple[float, float, bool]]:
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows), size=count)
    return [(columns[c] + 0.5, rows[c] + 0.5, inside) for c in chosen]


def _loose_box(mask: Mask, rng: np.random.Generator) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    slack = rng.uniform(-0.05, 0.1, 4) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
    return float(x0 - slack[0]), float(y0 - slack[1]), float(x1 + slack[2]), float(y1 + slack[3])


def _near(mask: Mask) -> Mask:
    """Pixels outside the mask but inside its box grown by a third."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    grow = 2 + (max(np.ptp(rows), np.ptp(columns)) + 1) // 3
    near = np.zeros_like(mask)
    near[max(0, rows[0] - grow) : rows[-1] + grow + 1, max(0, columns[0] - grow) : columns[-1] + grow + 1] = True
    return near & ~mask
