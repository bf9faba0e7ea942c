"""Train the embedded base ``sam_tiny`` from nothing, with simulated clicks, boxes and corrections.

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
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from monailabel_app.learning.base_check import check_base
from monailabel_app.learning.base_objective import embed, joint_loss, tie_positions
from monailabel_app.learning.base_shapes import Mask, blob_anywhere
from monailabel_app.learning.base_sources import Source, sources
from monailabel_app.models.base import Progress, no_progress
from monailabel_app.models.prompting import SlicePrompt, simulate
from monailabel_app.models.sam_build import SHAPES, new_network, refit

__all__ = ["check_base", "train_base", "untrained"]

PROMPTS = 4
PEAK_RATE, WARM_UP = 1e-3, 40
SHAPE = SHAPES["sam_tiny"]
STAGES = ((0.1, 128, 0), (0.55, 128, 10), (0.35, 256, 4))
"""(share of the steps, picture size, pictures per step). The first stage has no picture: prompts on
noise teach the decoder where a prompt points; small pictures then cost a quarter."""


def untrained(seed: int, size: int = SHAPE.image_size) -> nn.Module:
    """``sam_tiny`` at its random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network(SHAPE, size)
        nn.init.trunc_normal_(network.get_parameter("image_encoder.pos_embed"), std=0.02)
    tie_positions(network)
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
        steps: gradient steps over all stages; 0 writes the untrained network.
        seed: of the start, the pictures and the prompts.
        data: folder with the public sets; procedural pictures only without it.
        progress: called after each step.

    Returns:
        The loss of each step.
    """
    rng = np.random.default_rng(seed)
    drawn_from = sources(data, held_out=False)
    network = untrained(seed, STAGES[0][1])
    losses: list[float] = []
    for share, size, pictures in STAGES:
        network = _resized(network, size)
        count = round(share * steps) if (share, size, pictures) != STAGES[-1] else steps - len(losses)
        optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.05, betas=(0.9, 0.98))
        for step in range(count):
            for group in optimiser.param_groups:
                group["lr"] = _rate(len(losses), steps) * min(1.0, (step + 1) / WARM_UP)
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(network, drawn_from, size, pictures, rng)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
            progress(len(losses) / steps)
    network = _resized(network, SHAPE.image_size)
    _save(network, out, {"steps": steps, "seed": seed, "sources": list(drawn_from)})
    return losses


def _rate(step: int, steps: int) -> float:
    return PEAK_RATE * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


def _resized(network: nn.Module, size: int) -> nn.Module:
    """The same weights for pictures of another size."""
    if network.get_submodule("image_encoder").img_size == size:
        return network.train()
    larger = new_network(SHAPE, size)
    larger.load_state_dict(refit(network.state_dict(), larger.state_dict()))
    return larger.train()


def _loss(
    network: nn.Module,
    drawn_from: Mapping[str, tuple[float, Source]],
    size: int,
    pictures: int,
    rng: np.random.Generator,
) -> Tensor:
    if pictures == 0:
        masks = [blob_anywhere(size, rng) for _ in range(6 * PROMPTS)]
        grid = size // SHAPE.patch
        noise = rng.standard_normal((len(masks), SHAPE.prompt_dim, grid, grid), dtype=np.float32)
        features = torch.from_numpy(noise)
    else:
        images, masks = _pictures(drawn_from, size, pictures, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = embed(network, images).repeat_interleave(PROMPTS, dim=0)
    prompts: list[SlicePrompt] = [simulate(mask, rng) for mask in masks]
    return joint_loss(network, features, prompts, masks, rng)


def _pictures(
    drawn_from: Mapping[str, tuple[float, Source]], size: int, count: int, rng: np.random.Generator
) -> tuple[Tensor, list[Mask]]:
    """Pictures [b, size, size], and ``PROMPTS`` objects of each in order."""
    weights = np.asarray([weight for weight, _ in drawn_from.values()])
    images, masks = [], []
    for choice in rng.choice(len(weights), size=count, p=weights / weights.sum()):
        _, source = list(drawn_from.values())[choice]
        image, objects = source(size, rng)
        while not objects:
            image, objects = source(size, rng)
        images.append(image)
        masks += [objects[int(pick)] for pick in rng.integers(len(objects), size=PROMPTS)]
    return torch.from_numpy(np.stack(images)), masks


def _save(network: nn.Module, out: Path, origin: Mapping[str, object]) -> None:
    tensors = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    temporary = out.with_name(f".{out.name}.tmp")
    # one entry: safetensors writes several in any order, and equal weights are to be equal bytes
    save_file(tensors, temporary, metadata={"sam_tiny": json.dumps(origin, sort_keys=True)})
    temporary.chmod(0o644)
    os.replace(temporary, out)


class _Report:
    """Prints progress now and then."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._started = time.monotonic()

    def __call__(self, share: float) -> None:
        done = round(share * self._steps)
        if done % 50 == 0 or done == self._steps:
            seconds = time.monotonic() - self._started
            print(f"{done}/{self._steps} steps, {seconds:.0f} s", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line: train, or check weights on held-out pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="safetensors file to write")
    parser.add_argument("--check", type=Path, help="measure these weights instead of training")
    parser.add_argument("--steps", type=int, default=1000)
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
        options.out, steps=options.steps, seed=options.seed, data=options.data, progress=_Report(options.steps)
    )
    for first in range(0, len(losses), 50):
        print(f"loss {first}-{min(first + 50, len(losses)) - 1}: {np.mean(losses[first : first + 50]):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
