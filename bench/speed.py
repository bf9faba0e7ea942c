"""Which way of computing a SAM on this processor is the fastest, and what it does to the masks.

    python -m bench.speed                 sam_tiny
    python -m bench.speed --vit           and ViT-B's shape (minutes)

One thread. Processor time of the calling thread, so that other work on the machine counts little;
the median of several runs, variants taken by turns. Mask Dice: masks from the same clicks with the
variant's features against those with float32 features.
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.disk import DiskStore
from monailabel_app.inference.planes import Plane
from monailabel_app.models.device import fastest_numeric
from monailabel_app.models.fused import fuse_decoder, fuse_encoder
from monailabel_app.models.heap import keep_freed_memory
from monailabel_app.models.sam_build import SHAPES, load_base, new_network

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vit", action="store_true")
    parser.add_argument("--memory", choices=["given", "kept"], help="only the encoder, with this memory setting")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(encoder_alone(options.memory == "kept"))
        return 0
    lines = [
        "# Ways of computing, one thread",
        "",
        f"`python -m bench.speed`, torch {torch.__version__}, {_features()}.",
        "",
    ]
    lines += [
        "| network | part | variant | processor time, ms | of the plain one | mask Dice |",
        "|---|---|---|---|---|---|",
    ]
    for base, repeats in (("sam_tiny", 15), *([("sam_vit_b", 2)] if options.vit else [])):
        network = _network(base)
        lines += encoders(base, network, repeats)
        lines += decoders(base, network, 5 * repeats)
    lines += ["", "Around the encoder of sam_tiny, which is in bfloat16 where that is the quickest:", ""]
    lines += ["| step | variant | processor time, ms | page faults |", "|---|---|---|---|"]
    lines += around(30)
    text = "\n".join(lines) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.md").write_text(text)
    print(text)
    return 0


def encoders(base: str, network: Any, repeats: int) -> list[str]:
    """Rows of the image encoder."""
    image = torch.from_numpy(_picture(SHAPES[base].image_size))
    plain = network.image_encoder
    variants: dict[str, Callable[[], Tensor]] = {"float32": lambda: plain(image)}
    rounded = copy.deepcopy(plain).to(torch.bfloat16)
    variants["bfloat16"] = lambda: rounded(image.bfloat16()).float()
    fused = _fused(copy.deepcopy(plain))
    variants["float32, fused attention"] = lambda: fused(image)
    both = _fused(copy.deepcopy(rounded))
    variants["bfloat16, fused attention"] = lambda: both(image.bfloat16()).float()
    if base == "sam_tiny":
        last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
        variants["float32, channels last"] = lambda: last(image.to(memory_format=torch.channels_last))
        small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {torch.nn.Linear}, dtype=torch.qint8)
        variants["int8 (dynamic)"] = lambda: small(image)
    times, results = by_turns(variants, repeats)
    dice = {name: agreement(network, results["float32"], result) for name, result in results.items()}
    return _rows(base, "encoder", times, dice)


def decoders(base: str, network: Any, repeats: int) -> list[str]:
    """Rows of the mask decoder for one click."""
    grid = SHAPES[base].image_size // SHAPES[base].patch
    features = torch.randn(1, SHAPES[base].prompt_dim, grid, grid)
    fused, rounded = copy.deepcopy(network), copy.deepcopy(network)
    fuse_decoder(fused)
    rounded.mask_decoder.to(torch.bfloat16)
    variants = {
        "float32": lambda: decode(network, features, 0.5, 0.5),
        "float32, fused attention": lambda: decode(fused, features, 0.5, 0.5),
        "bfloat16": lambda: decode(rounded, features, 0.5, 0.5, torch.bfloat16),
    }
    times, _ = by_turns(variants, repeats)
    return _rows(base, "decoder", times, {})


@torch.inference_mode()
def around(repeats: int) -> list[str]:
    """Rows of what a cold slice costs beside its encoder, and of the encoder in processes of its own."""
    voxels = np.random.default_rng(0).integers(60, 300, (512, 512, 120), dtype=np.int16)
    volume = Volume(voxels, np.diag([0.7, 0.7, 1.5, 1.0]))
    plane, window = Plane.of(volume, 2, 256), window_of(volume)
    arranged = volume.arranged(plane.stack.axes)
    grid = SHAPES["sam_tiny"].image_size // SHAPES["sam_tiny"].patch
    lower, upper = torch.randn(1, grid, grid, 128).bfloat16(), torch.randn(1, 128, grid, grid)
    rows = [
        _step("slice of 512 x 512", "voxels in another order", lambda n: plane.image(volume, window, n), repeats),
        _step("slice of 512 x 512", "slices in one piece", lambda n: plane.image(arranged, window, n), repeats),
    ]
    with tempfile.TemporaryDirectory() as folder:
        disk = DiskStore(Path(folder))

        def write(number: int) -> None:
            disk.put("0" * 64, f"lower{number}", lower, compact=True)
            disk.put("0" * 64, f"upper{number}", upper, compact=True)

        rows.append(_step("features of a slice to disk", "two layers", write, repeats))
    for memory in ("given", "kept"):
        command = [sys.executable, "-m", "bench.speed", "--memory", memory]
        rows.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    return rows


@torch.inference_mode()
def encoder_alone(kept: bool, repeats: int = 30) -> str:
    """The row of the encoder in a fresh process, as in a site that has just started."""
    if kept:
        keep_freed_memory()
    encoder = _network("sam_tiny").image_encoder.to(getattr(torch, fastest_numeric()))
    image = torch.from_numpy(_picture(256)).to(next(encoder.parameters()).dtype)
    words = "freed memory kept" if kept else "freed memory given back"
    return _step("encoder, fresh process", words, lambda n: encoder(image), repeats)


def _step(step: str, variant: str, run: Callable[[int], object], repeats: int) -> str:
    """One row: the median of processor time and of minor page faults of this thread."""
    spent, faults = [], []
    for number in range(repeats + 3):
        before, start = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt, time.thread_time()
        run(number)
        spent.append(time.thread_time() - start)
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
    return f"| {step} | {variant} | {np.median(spent[3:]) * 1e3:.2f} | {np.median(faults[3:]):.0f} |"


@torch.inference_mode()
def by_turns(variants: dict[str, Callable[[], Tensor]], repeats: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Median milliseconds of processor time of each variant, and its result."""
    results = {name: run() for name, run in variants.items()}
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items():
            start = time.thread_time()
            run()
            spent[name].append(time.thread_time() - start)
    return {name: float(np.median(values)) * 1e3 for name, values in spent.items()}, results


@torch.inference_mode()
def agreement(network: Any, exact: Tensor, rounded: Tensor) -> float:
    """Mean Dice of masks from 25 clicks with two kinds of features."""
    scores = []
    for x in np.linspace(0.1, 0.9, 5):
        for y in np.linspace(0.1, 0.9, 5):
            a, b = (decode(network, features, float(x), float(y)) > 0 for features in (exact, rounded))
            total = int(a.sum() + b.sum())
            scores.append(2.0 * int((a & b).sum()) / total if total else 1.0)
    return float(np.mean(scores))


def decode(network: Any, features: Tensor, x: float, y: float, kind: torch.dtype = torch.float32) -> Tensor:
    """Low-resolution logits for one click, as segment_anything calls its decoder."""
    size = network.image_encoder.img_size
    point = (torch.tensor([[[x * size, y * size]]]), torch.tensor([[1]]))
    sparse, dense = network.prompt_encoder(points=point, boxes=None, masks=None)
    masks, _ = network.mask_decoder(
        image_embeddings=features.to(kind),
        image_pe=network.prompt_encoder.get_dense_pe().to(kind),
        sparse_prompt_embeddings=sparse.to(kind),
        dense_prompt_embeddings=dense.to(kind),
        multimask_output=False,
    )
    return masks.float()


def _rows(base: str, part: str, times: dict[str, float], dice: dict[str, float]) -> list[str]:
    plain, rows = times["float32"], []
    for name, value in times.items():
        overlap = f"{dice[name]:.4f}" if name in dice else ""
        rows.append(f"| {base} | {part} | {name} | {value:,.1f} | {value / plain:.2f} | {overlap} |")
    return rows


def _network(base: str) -> Any:
    if base == "sam_tiny":
        return load_base(base, 256, None)[0].requires_grad_(False)
    torch.manual_seed(0)
    return new_network(SHAPES[base], SHAPES[base].image_size).requires_grad_(False)


def _picture(size: int) -> Any:
    """A normalised picture of a few ellipses, [1, 3, size, size]."""
    rows, columns = np.mgrid[:size, :size] / size
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.2, (size, size))
    for _ in range(8):
        (y, x), r = rng.random(2), rng.uniform(0.05, 0.2)
        image += rng.normal() * ((rows - y) ** 2 + (columns - x) ** 2 < r**2)
    return np.repeat(image[None, None], 3, axis=1).astype(np.float32)


def _fused(encoder: Any) -> Any:
    """The encoder with PyTorch's fused attention kernel."""
    fuse_encoder(types.SimpleNamespace(image_encoder=encoder))
    return encoder


def _features() -> str:
    kinds = [torch.backends.cpu.get_cpu_capability()]
    kinds += ["AVX512_BF16"] if torch.cpu._is_avx512_bf16_supported() else []
    kinds += ["AMX"] if torch.cpu._is_amx_tile_supported() else []
    return " ".join(kinds)


if __name__ == "__main__":
    sys.exit(main())
