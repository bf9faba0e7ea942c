"""Does an update show the images that it was trained on? Gradient inversion, with and without the plan's noise.

    python -m bench.inversion     two minutes of one core; writes bench/results/inversion.json

The attacker holds the base, one site's update of the smallest U-Net and, to make it easy, everything about the
training but the images: masks, rate, number of steps. It looks for images whose gradient points where the update does
(Geiping et al. 2020, arXiv 2003.14053: cosine distance, signed gradients, total variation). Images are smooth
random textures, so that nothing but the update tells what one looks like; similarity is the normalised
correlation with the true slice, beside that with other textures under the same mask. ``found``: the true slice is
the most similar of these ten. One in ten is guessing. Averages over ``SEEDS`` sites.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fed_backend.defences import PrivacySpec
from fed_backend.methods.robust import change
from fed_backend.payload import Tensors
from fed_backend.plan import ModelSpec, TrainingSpec
from fed_backend.privacy import KEY_BYTES, released
from monailabel_app.federation.privacy import epsilon_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.finetune import finetune
from monailabel_app.models.base import Labelmap, Objective, Segmenter
from monailabel_app.models.registry import build_segmenter

RESULTS = Path(__file__).resolve().parent / "results"
LABELS = {"tumour": 1}
MODEL = ModelSpec(image_size=32, channels=(8, 16))
SEEDS, SIDE, OTHERS = 3, 32, 9
ITERATIONS, VARIATION, RATE, LEARNING_RATE = 200, 0.03, 0.1, 1e-3
NOISES = (0.003, 0.01, 0.1, 1.0)
DELTA = 1e-5

Image = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """What an attack starts from.

    Attributes:
        segmenter: holds the base.
        objective: of the site's training.
        batch: what it drew first; its images are what is looked for.
        direction: where the update went, downhill, by tensor.
        stepwise: whether the update is one step of Adam, which keeps little but the signs of the gradient.
    """

    segmenter: Segmenter
    objective: Objective
    batch: Any
    direction: Sequence[Tensor]
    stepwise: bool


def texture(rng: np.random.Generator) -> Image:
    smooth = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 1.5)
    scaled: Image = smooth / smooth.std()
    return scaled


def case(rng: np.random.Generator, slices: int) -> tuple[Volume, Labelmap]:
    """Another texture on every slice, and a box that is a little brighter."""
    mask = np.zeros((SIDE, SIDE, slices), np.uint8)
    i, j = rng.integers(4, 16, 2)
    mask[i : i + 10, j : j + 10] = 1
    image = np.stack([texture(rng) for _ in range(slices)], axis=-1) + mask
    return Volume(image.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0])), mask


def gradient(target: Target, images: Tensor) -> list[Tensor]:
    """Of the training loss, by tensor of the adapter; can be differentiated by ``images``."""
    objective, parameters = target.objective, target.segmenter.trainable.parameters.values()
    batch = replace(target.batch, images=images)
    loss = objective.loss(objective.logits(batch), batch)
    return list(torch.autograd.grad(loss, list(parameters), create_graph=True))


def distance(target: Target, images: Tensor) -> Tensor:
    """1 - cosine between where these images would have sent the adapter and where the update went."""
    found = gradient(target, images)
    if target.stepwise:
        found = [g / (g.abs() + 0.1 * g.abs().mean().detach() + 1e-12) for g in found]
    zero = torch.zeros(())
    dot = sum(((g * d).sum() for g, d in zip(found, target.direction, strict=True)), zero)
    norms = [sum((t.square().sum() for t in part), zero) for part in (found, target.direction)]
    return 1 - dot / (norms[0] * norms[1] + 1e-30).sqrt()


def invert(target: Target, seed: int) -> Tensor:
    """The images that explain the update best, of the shape that the network sees."""
    start = torch.randn(target.batch.images.shape, generator=torch.Generator().manual_seed(seed))
    images = start.requires_grad_()
    optimiser = torch.optim.Adam([images], lr=RATE)
    decay = torch.optim.lr_scheduler.MultiStepLR(optimiser, [ITERATIONS // 2, 3 * ITERATIONS // 4], 0.3)
    best, kept = float("inf"), start.detach().clone()
    for _ in range(ITERATIONS):
        optimiser.zero_grad()
        value = distance(target, images)
        if value.item() < best:
            best, kept = value.item(), images.detach().clone()
        rough = images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()
        torch.autograd.backward(value + VARIATION * rough, inputs=[images])
        assert images.grad is not None
        images.grad.sign_()
        optimiser.step()
        decay.step()
    return kept


def correlation(one: Image, other: Image) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def judge(target: Target, seed: int, rng: np.random.Generator) -> dict[str, float]:
    """Attack, and compare with the truth and with textures that the site never had."""
    shown = (invert(target, seed), target.batch.images, target.batch.targets[:, 1:])
    rows = []
    for seen, true, mask in zip(*(part[:, 0].double().numpy() for part in shown), strict=True):
        others = [correlation(seen, texture(rng) + mask) for _ in range(OTHERS)]
        rows.append((correlation(seen, true), fmean(others), float(correlation(seen, true) > max(others))))
    return dict(zip(("true", "others", "found"), map(fmean, zip(*rows, strict=True)), strict=True))


def trained(seed: int, *, steps: int, batch: int, slices: int, cases: int = 1) -> tuple[Target, Tensors, Tensors]:
    """A site's training; the target without protection, start and update."""
    rng = np.random.default_rng(seed)
    given = [case(rng, slices) for _ in range(cases)]
    segmenter = build_segmenter(MODEL, LABELS)
    start = segmenter.adapter()
    training = TrainingSpec(steps=steps, batch_size=batch, learning_rate=LEARNING_RATE, weight_decay=0)
    update = finetune(segmenter, given, training, seed=seed).tensors
    segmenter.load_adapter(start)
    objective = segmenter.objective(given, batch_size=batch, seed=seed)
    drawn = objective.draw()  # what the training saw first: the seed is the same
    direction = [torch.from_numpy(start[name] - update[name]) for name in segmenter.trainable.parameters]
    return Target(segmenter, objective, drawn, direction, steps == 1), start, update


def attacks(seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """All attacks on one site."""
    rng = np.random.default_rng(1000 + seed)
    one, start, update = trained(seed, steps=1, batch=1, slices=3)
    raw = [g.detach() for g in gradient(one, one.batch.images)]
    yield "gradient of one slice (never sent)", judge(replace(one, direction=raw, stepwise=False), seed, rng)
    yield "one step on one slice", judge(one, seed, rng)
    for noise in NOISES:
        spec = PrivacySpec(clip=change(update, start), noise=noise)
        noisy = released(update, start, spec, rng.bytes(KEY_BYTES))
        direction = [torch.from_numpy(start[name] - noisy[name]) for name in one.segmenter.trainable.parameters]
        yield f"one step on one slice, noise {noise:g}", judge(replace(one, direction=direction), seed, rng)
    yield "one step on four slices", judge(trained(seed, steps=1, batch=4, slices=6)[0], seed, rng)
    many, _, _ = trained(seed, steps=60, batch=4, slices=6, cases=4)
    yield "60 steps over 24 slices", judge(many, seed, rng)


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(SEEDS):
        for name, row in attacks(seed):
            found.setdefault(name, []).append(row)
            print(seed, name, row, file=sys.stderr, flush=True)
    data = {
        "sites": SEEDS,
        "iterations": ITERATIONS,
        "side": SIDE,
        "numbers": sum(int(np.prod(shape)) for shape in build_segmenter(MODEL, LABELS).adapter_shapes().values()),
        "epsilon": {f"noise {noise:g}": round(epsilon_of([(noise, 1)], DELTA), 3) for noise in NOISES},
        "attacks": {
            name: {key: round(fmean(row[key] for row in rows), 3) for key in rows[0]} for name, rows in found.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "inversion.json").write_text(json.dumps(data, indent=2) + "\n")
    json.dump(data, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
