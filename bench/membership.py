"""Does an update tell who was in its training? A membership-inference attack with and without differential privacy.

    python -m bench.membership     a minute; writes bench/results/membership.json

One site trains the smallest U-Net for many steps on few cases, the worst case for privacy. The attacker
holds the update as the hub sees it, and for each case the image and the right mask; it says "member" where
the update's Dice is high (the loss-threshold attack of Yeom et al. 2018, arXiv 1709.01604). AUC 0.5 is guessing.
Targets are faint, so that a network learns them by heart rather than by rule. Averages over ``SEEDS`` sites.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from fed_backend.defences import PrivacySpec
from fed_backend.methods.robust import change, clipped
from fed_backend.payload import Tensors
from fed_backend.plan import ModelSpec, TrainingSpec
from fed_backend.privacy import KEY_BYTES, released
from monailabel_app.federation.privacy import epsilon_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.dice import dice
from monailabel_app.learning.finetune import finetune
from monailabel_app.models.base import Labelmap, Segmenter
from monailabel_app.models.registry import build_segmenter

RESULTS = Path(__file__).resolve().parent / "results"
LABELS = {"tumour": 1}
MODEL = ModelSpec(image_size=32, channels=(8, 16))
TRAINING = TrainingSpec(steps=400, batch_size=8, learning_rate=5e-3, weight_decay=0)
SEEDS, CASES, CONTRAST = 6, 8, 0.3
CLIP, DELTA = 8.0, 1e-5
NOISES = (0.0003, 0.001, 0.003, 0.01, 0.1, 1.0)

Cases = list[tuple[Volume, Labelmap]]


def cases(rng: np.random.Generator, contrast: float = CONTRAST) -> Cases:
    """Noise with a box that is brighter by ``contrast`` standard deviations."""
    made = []
    for _ in range(CASES):
        mask = np.zeros((24, 24, 3), np.uint8)
        i, j = rng.integers(3, 12, 2)
        mask[i : i + 9, j : j + 9] = 1
        image = rng.normal(0, 1, mask.shape) + contrast * mask
        made.append((Volume(image.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0])), mask))
    return made


def scores(segmenter: Segmenter, tensors: Tensors, judged: Cases) -> list[float]:
    segmenter.load_adapter(tensors)
    return [dice(segmenter.segment(volume) == 1, mask == 1) for volume, mask in judged]


def auc(members: list[float], others: list[float]) -> float:
    """Probability that a member scores above a case that is none; ties count half."""
    return fmean(float(m > o) + 0.5 * float(m == o) for m in members for o in others)


def site(seed: int) -> dict[str, dict[str, float]]:
    """What one site's update gives away and what it is worth, under each protection."""
    rng = np.random.default_rng(seed)
    members, others = cases(rng), cases(rng)
    segmenter = build_segmenter(MODEL, LABELS)
    start = segmenter.adapter()
    update = finetune(segmenter, members, TRAINING, seed=seed).tensors
    protected = {"none": update, "clip": clipped(update, start, CLIP)[0]}
    for noise in NOISES:
        key = rng.bytes(KEY_BYTES)
        protected[f"noise {noise:g}"] = released(update, start, PrivacySpec(clip=CLIP, noise=noise), key)
    result = {}
    for name, tensors in protected.items():
        inside, outside = scores(segmenter, tensors, members), scores(segmenter, tensors, others)
        result[name] = {"auc": auc(inside, outside), "dice_members": fmean(inside), "dice_others": fmean(outside)}
    return {**result, "change": {"norm": change(update, start)}}


def main() -> None:
    sites = [site(seed) for seed in range(SEEDS)]
    rows = {}
    for name in sites[0].keys() - {"change"}:
        rows[name] = {key: round(fmean(s[name][key] for s in sites), 3) for key in sites[0][name]}
        rows[name]["auc_spread"] = round(stdev(s[name]["auc"] for s in sites), 3)
        if name.startswith("noise"):
            rows[name]["epsilon"] = round(epsilon_of([(float(name.split()[1]), 1)], DELTA), 3)
    numbers = sum(int(np.prod(s)) for s in build_segmenter(MODEL, LABELS).adapter_shapes().values())
    data = {
        "sites": SEEDS,
        "cases": CASES,
        "steps": TRAINING.steps,
        "numbers": numbers,
        "clip": CLIP,
        "delta": DELTA,
        "change_norm": round(fmean(s["change"]["norm"] for s in sites), 3),
        "protection": {name: rows[name] for name in ["none", "clip", *(f"noise {n:g}" for n in NOISES)]},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "membership.json").write_text(json.dumps(data, indent=2) + "\n")
    json.dump(data, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
