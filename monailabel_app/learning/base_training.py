"""Train the embedded base ``sam_tiny`` from nothing, with simulated clicks, boxes and corrections.

The rate stays level while pictures are small, and falls to nothing over the last part on pictures
of full size (warm-up, stable, decay: Hu et al. 2024, arXiv 2404.06395, section 4). Nothing before
that part depends on the number of steps, so that a stopped training may be finished with fewer or
more of them, as if that number had been asked for from the start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from monailabel_app.learning import base_checkpoint as checkpoint
from monailabel_app.learning.base_objective import embed, joint_loss, tie_positions
from monailabel_app.learning.base_prompts import first_prompt
from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.base_sources import Source, sources
from monailabel_app.models.base import Progress, no_progress
from monailabel_app.models.device import sent
from monailabel_app.models.sam_build import SHAPES, new_network, refit

__all__ = ["train_base", "untrained"]

SHAPE = SHAPES["sam_tiny"]
PROMPTS = 4
"""Objects per picture: the encoder runs once for them."""
PEAK_RATE, WARM_UP, LAST_RATE = 1.5e-3, 60, 0.01
SMALL, FULL = (128, 6), (SHAPE.image_size, 3)
"""(picture size, pictures per step); a small picture costs a quarter."""
FULL_SHARE = 0.25
"""Share of the steps on pictures of full size, at the end, while the rate falls."""
KEEP_EVERY = 50
"""Steps between two writings of the unfinished training."""


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
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[float]:
    """Train and write the weights; equal arguments give equal weights on one machine.

    An unfinished training (``<out>.partial``) is gone on with. Matrix products run in bfloat16 (two
    to three times faster on processors that have it); the weights and their updates stay float32.

    Args:
        out: the safetensors file to write.
        steps: gradient steps; 0 writes the untrained network.
        seed: of the start, the pictures and the prompts.
        data: folder with the public sets; procedural pictures only without it.
        device: ``cpu`` or ``cuda``.
        progress: called after each step.

    Returns:
        The loss of each step.

    Raises:
        StateError: the unfinished training there is another one.
    """
    rng = np.random.default_rng(seed)
    drawn_from = sources(data, held_out=False)
    origin = {"seed": seed, "sources": list(drawn_from)}
    level = steps - round(FULL_SHARE * steps)
    size, pictures = SMALL if level else FULL
    partial, losses = checkpoint.partial_file(out), list[float]()
    network, optimisers = _ready(untrained(seed, size).to(device))
    if saved := checkpoint.load_training(partial, origin):
        losses, rng.bit_generator.state = saved.losses, saved.generator
        size, pictures = SMALL if saved.size == SMALL[0] else FULL
        network, optimisers = _ready(untrained(seed, size).to(device))
        network.load_state_dict(saved.weights)
        checkpoint.restore_moments(optimisers, saved.moments)
    while len(losses) < steps:
        if size != FULL[0] and len(losses) >= level:
            size, pictures = FULL
            network, optimisers = _ready(_resized(network, size).to(device))
        _set_rate(optimisers, len(losses), level, steps)
        loss = _loss(network, drawn_from, size, pictures, rng, device)
        _descend(network, optimisers, loss)
        losses.append(float(loss.detach()))
        progress(len(losses) / steps)
        if len(losses) % KEEP_EVERY == 0:
            checkpoint.save_training(partial, network, optimisers, origin=origin, losses=losses, rng=rng, size=size)
    _write(_resized(network.cpu(), SHAPE.image_size), out, {**origin, "steps": steps})
    partial.unlink(missing_ok=True)
    return losses


def _set_rate(optimisers: list[torch.optim.Optimizer], step: int, level: int, steps: int) -> None:
    """Warm up, stay, fall in a straight line; and warm up for a moment after the pictures have grown."""
    rate = min(1.0, (step + 1) / WARM_UP)
    if step >= level:
        rate = min(1.0, (step - level + 1) / 10) * max(LAST_RATE, (steps - step) / (steps - level))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * rate


def _ready(network: nn.Module) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    """The network in training, and what trains it: matrices inside it by Muon, all else by AdamW.

    Muon (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982) needs fewer steps for matrices.
    """
    matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and _inner(name)]
    inner = {id(p) for p in matrices}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in inner]
    return network.train(), [
        torch.optim.Muon(matrices, lr=PEAK_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=PEAK_RATE, weight_decay=0.05, betas=(0.9, 0.98)),
    ]


def _inner(name: str) -> bool:
    return name.startswith(("image_encoder.blocks.", "mask_decoder.transformer."))


def _resized(network: nn.Module, size: int) -> nn.Module:
    """The same weights for pictures of another size."""
    if network.get_submodule("image_encoder").img_size == size:
        return network
    larger = new_network(SHAPE, size)
    larger.load_state_dict(refit(network.cpu().state_dict(), larger.state_dict()))
    return larger


def _descend(network: nn.Module, optimisers: list[torch.optim.Optimizer], loss: Tensor) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()


def _loss(
    network: nn.Module,
    drawn_from: Mapping[str, tuple[float, Source]],
    size: int,
    pictures: int,
    rng: np.random.Generator,
    device: str,
) -> Tensor:
    images, masks = _pictures(drawn_from, size, pictures, rng)
    with torch.autocast(device, dtype=torch.bfloat16):
        features = embed(network, sent(images, device)).repeat_interleave(PROMPTS, dim=0)
    return joint_loss(network, features, [first_prompt(mask, rng) for mask in masks], masks, rng)


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
        picks = rng.permutation(len(objects))  # different objects first
        masks += [objects[int(picks[n % len(picks)])] for n in range(PROMPTS)]
    return torch.from_numpy(np.stack(images)), masks


def _write(network: nn.Module, out: Path, origin: Mapping[str, object]) -> None:
    tensors = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    # one entry: safetensors writes several in any order, and equal weights are to be equal bytes
    checkpoint.save_tensors(tensors, out, {"sam_tiny": json.dumps(origin, sort_keys=True)})
