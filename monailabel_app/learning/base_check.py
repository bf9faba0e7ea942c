"""How good the embedded base is on held-out pictures, from one click or one box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from monailabel_app.learning.base_objective import embed, prompt_tokens
from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.base_sources import sources
from monailabel_app.models.prompting import SlicePrompt, decode_all

__all__ = ["check_base"]

SIZE = 256


@torch.inference_mode()
def check_base(
    network: nn.Module, data: Path | None, *, pictures: int = 60, seed: int = 1
) -> dict[str, dict[str, float]]:
    """Mean IoU on held-out pictures, at their full 256 pixels.

    Args:
        network: the SAM to measure.
        data: folder with the public sets, or ``None`` for procedural pictures only.
        pictures: per source; up to three objects of each are prompted.
        seed: of the choice of pictures; not the one trained with.

    Returns:
        Source -> ``click`` (one, at the point furthest from the border), ``click_best`` (the best of
        the three masks by predicted IoU), ``box`` (exact), ``corrected`` (the box, then one click
        on the middle of the largest error), and ``box_itself`` (the box filled, what no network is
        needed for).
    """
    results = {}
    for name, (_, source) in sources(data, held_out=True).items():
        rng = np.random.default_rng(seed)
        scores: dict[str, list[float]] = {}
        for _ in range(pictures):
            image, objects = source(SIZE, rng)
            features = embed(network, torch.from_numpy(image)[None]) if objects else None
            for pick in rng.permutation(len(objects))[:3]:
                assert features is not None
                for key, guess in _guesses(network, features, objects[int(pick)]).items():
                    scores.setdefault(key, []).append(_iou(guess, objects[int(pick)]))
        results[name] = {key: float(np.mean(values)) for key, values in scores.items()}
    return results


def _guesses(network: nn.Module, features: Tensor, mask: Mask) -> dict[str, Mask]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    filled = np.zeros_like(mask)
    filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    edges = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    click, box = SlicePrompt((_middle(mask, True),)), SlicePrompt(box=edges)
    logits, quality = decode_all(network, features.expand(2, -1, -1, -1), prompt_tokens(network, [click, box]))
    best = 1 + int(quality[0, 1:].argmax())
    single, boxed = _full(logits[0, 0]), _full(logits[1, 0])
    wrong, label = boxed ^ mask, 0
    if wrong.any():
        parts, count = ndimage.label(wrong)
        label = 1 + int(np.argmax(ndimage.sum(wrong, parts, range(1, count + 1))))
        area = parts == label
        again = SlicePrompt((_middle(area, bool((mask & area).any())),), edges)
        corrected = _full(decode_all(network, features, prompt_tokens(network, [again]), logits[1:, 0])[0][0, 0])
    else:
        corrected = boxed
    return {
        "click": single,
        "click_best": _full(logits[0, best]),
        "box": boxed,
        "corrected": corrected,
        "box_itself": filled,
    }


def _full(logits: Tensor) -> Mask:
    wide = nn.functional.interpolate(logits[None, None], size=(SIZE, SIZE), mode="bilinear")[0, 0]
    mask: Mask = wide.numpy() > 0
    return mask


def _middle(mask: Mask, inside: bool) -> tuple[float, float, bool]:
    """The point furthest from the border of an area, as a click."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    return float(column) + 0.5, float(row) + 0.5, inside


def _iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())
