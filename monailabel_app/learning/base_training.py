"""Train the embedded base ``sam_tiny`` from nothing, with simulated clicks and boxes.

Run as ``python -m monailabel_app.learning.base_training --out F --steps N --seed S --data DIR``;
writes float16 safetensors. ``--check F`` measures weights on held-out cases instead.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.base_sources import Source, sources
from monailabel_app.learning.losses import binary_loss
from monailabel_app.models.base import Progress, no_progress
from monailabel_app.models.lora import PROMPT_TOKENS
from monailabel_app.models.prompting import SlicePrompt, decode, simulate, sparse_tokens
from monailabel_app.models.sam_build import SHAPES, new_network

__all__ = ["check_base", "train_base", "untrained"]

BATCH, PROMPTS = 4, 4
PEAK_RATE, WARM_UP = 1e-3, 100
SHAPE = SHAPES["sam_tiny"]


def untrained(seed: int) -> nn.Module:
    """``sam_tiny`` at its random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network(SHAPE, SHAPE.image_size)
        nn.init.trunc_normal_(network.get_parameter("image_encoder.pos_embed"), std=0.02)
    return network


def train_base(
    out: Path,
    *,
    steps: int,
    seed: int,
    data: Path | None = None,
    progress: Progress = no_progress,
) -> list[float]:
    """Train and write the weights; equal arguments give equal weights on one machine.

    Matrix products run in bfloat16 (two to three times faster on processors that have it), the
    weights and their updates stay float32.

    Args:
        out: the safetensors file to write.
        steps: gradient steps of 4 pictures with 4 prompts each; 0 writes the untrained network.
        seed: of the start, the pictures and the prompts.
        data: folder with the public sets; procedural pictures only without it.
        progress: called after each step.

    Returns:
        The loss of each step.
    """
    rng = np.random.default_rng(seed)
    network = untrained(seed).train()
    drawn_from = sources(data, held_out=False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.05, betas=(0.9, 0.98))
    losses = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, steps)
        optimiser.zero_grad(set_to_none=True)
        images, prompts, truth = _batch(drawn_from, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = _predict(network, images, prompts)
        loss = binary_loss(logits.float(), truth)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        progress((step + 1) / steps)
    _save(network, out, {"steps": str(steps), "seed": str(seed), "sources": ",".join(drawn_from)})
    return losses


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return PEAK_RATE * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


def _batch(
    drawn_from: Mapping[str, tuple[float, Source]], rng: np.random.Generator
) -> tuple[Tensor, list[SlicePrompt], Tensor]:
    """Pictures [b, size, size], and prompts and low-resolution truths, ``PROMPTS`` per picture."""
    weights = np.asarray([weight for weight, _ in drawn_from.values()])
    choices = rng.choice(len(weights), size=BATCH, p=weights / weights.sum())
    images, prompts, masks = [], [], []
    for choice in choices:
        _, source = list(drawn_from.values())[choice]
        image, objects = source(SHAPE.image_size, rng)
        while not objects:
            image, objects = source(SHAPE.image_size, rng)
        images.append(image)
        for pick in rng.integers(len(objects), size=PROMPTS):
            prompts.append(simulate(objects[pick], rng))
            masks.append(objects[pick])
    truth = torch.from_numpy(np.stack(masks).astype(np.float32))
    low = nn.functional.avg_pool2d(truth[:, None], SHAPE.patch // 4)[:, 0]
    return torch.from_numpy(np.stack(images)), prompts, low


def _predict(network: nn.Module, images: Tensor, prompts: list[SlicePrompt]) -> Tensor:
    """Mask logits, the same number of prompts for every picture, in order."""
    shown = network.preprocess(images[:, None].expand(-1, 3, -1, -1) * 255)  # type: ignore[operator]
    embeddings: Tensor = network.image_encoder(shown)  # type: ignore[operator]
    no_point = network.get_parameter("prompt_encoder.not_a_point_embed.weight").expand(PROMPT_TOKENS, -1)
    tokens = sparse_tokens(network.prompt_encoder, prompts, [no_point] * len(prompts))  # type: ignore[arg-type]
    return decode(network, embeddings.repeat_interleave(len(prompts) // len(images), dim=0), tokens)


def _save(network: nn.Module, out: Path, metadata: Mapping[str, str]) -> None:
    tensors = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    temporary = out.with_name(f".{out.name}.tmp")
    save_file(tensors, temporary, metadata=dict(metadata))
    os.replace(temporary, out)


@torch.inference_mode()
def check_base(
    network: nn.Module, data: Path | None, *, pictures: int = 60, seed: int = 1
) -> dict[str, dict[str, float]]:
    """Mean IoU on held-out pictures, at their full 256 pixels.

    Args:
        network: the SAM to measure.
        data: as for :func:`train_base`.
        pictures: per source; up to three objects of each are prompted.
        seed: of the choice of pictures; not the one trained with.

    Returns:
        Source -> ``click`` (one, at the point furthest from the border), ``box`` (exact), and
        ``box_itself`` (the box filled, what no network is needed for).
    """
    results = {}
    for name, (_, source) in sources(data, held_out=True).items():
        rng = np.random.default_rng(seed)
        scores: dict[str, list[float]] = {"click": [], "box": [], "box_itself": []}
        for _ in range(pictures):
            image, objects = source(SHAPE.image_size, rng)
            for pick in rng.permutation(len(objects))[:3]:
                mask = objects[int(pick)]
                click, box, filled = _ideal(mask)
                logits = _predict(network, torch.from_numpy(image)[None], [click, box])
                wide = nn.functional.interpolate(logits[None], size=mask.shape, mode="bilinear")[0].numpy() > 0
                for key, guess in zip(scores, (wide[0], wide[1], filled), strict=True):
                    scores[key].append(float((guess & mask).sum() / (guess | mask).sum()))
        results[name] = {key: float(np.mean(values)) for key, values in scores.items()}
    return results


def _ideal(mask: Mask) -> tuple[SlicePrompt, SlicePrompt, Mask]:
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    filled = np.zeros_like(mask)
    filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return SlicePrompt(((float(column) + 0.5, float(row) + 0.5, True),)), SlicePrompt(box=box), filled


def _reporter(steps: int) -> Callable[[float], None]:
    started = time.monotonic()

    def report(share: float) -> None:
        done = round(share * steps)
        if done % 50 == 0 or done == steps:
            seconds = time.monotonic() - started
            print(f"{done}/{steps} steps, {seconds:.0f} s, {seconds / done * (steps - done):.0f} s left", flush=True)

    return report


def main(arguments: list[str] | None = None) -> int:
    """Command line: train, or check weights on held-out pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="safetensors file to write")
    parser.add_argument("--check", type=Path, help="measure these weights instead of training")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder with nuclei-dsb2018 and hippocampus-msd")
    options = parser.parse_args(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if options.check is not None:
        network = untrained(options.seed)
        print(json.dumps({"untrained": check_base(network, options.data)}, indent=1))
        network.load_state_dict({name: value.float() for name, value in load_file(options.check).items()})
        print(json.dumps({options.check.name: check_base(network, options.data)}, indent=1))
        return 0
    if options.out is None:
        parser.error("name a file with --out, or weights to measure with --check")
    losses = train_base(
        options.out, steps=options.steps, seed=options.seed, data=options.data, progress=_reporter(options.steps)
    )
    for first in range(0, len(losses), 100):
        print(f"loss {first}-{first + 99}: {np.mean(losses[first : first + 100]):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
