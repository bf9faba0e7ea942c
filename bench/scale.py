"""What many sites cost: time and memory of an aggregation, and how gossip converges.

    make bench-scale                          minutes; writes bench/results/scale.json and .md

Aggregation: the hub's own code combines updates of an adapter of SAM ViT-B (LoRA and mask decoder), read from
disk one by one where the method is an average. Each count runs in a process of its own; memory is its peak
above that of the same process before the first update. Gossip: sites with a vector each, drawn senders, peers
and failures; a visited site takes the size-weighted mean. Distance to consensus is the root mean square
distance from the mean of all, relative to the beginning.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fed_backend.flare.aggregator import Aggregator
from fed_backend.gossip.simulation import simulate_gossip
from fed_backend.methods import build_method
from fed_backend.methods.base import Update
from fed_backend.methods.gcml import GCML
from fed_backend.payload import Kind, PayloadHeader, Tensors, decode, encode
from fed_backend.plan import ModelSpec, Plan, load_plan, parse_plan, save_plan

RESULTS = Path(__file__).resolve().parent / "results" / "scale.json"
SITES = (4, 32, 256, 1024)
IN_MEMORY = (4, 32)
"""Sites for methods that give every site a mix of its own: each holds all updates at once."""

METHODS = {"fedavg": SITES, "fedprox": SITES, "fedsca": IN_MEMORY, "fedsm": IN_MEMORY}
STORED = 4  # different updates on disk; more sites send them again
GOSSIP = (16, 128, 1024)
EXCHANGES = 60
BASE = "ab" * 32
FAILING = 0.3


class Stored(Mapping[str, bytes]):
    """Updates of many sites, read from a few files when they are asked for."""

    def __init__(self, folder: Path, count: int) -> None:
        self._files = sorted(folder.glob("*.update"))
        self._sites = {f"site{number:04}": number for number in range(count)}

    def __getitem__(self, site: str) -> bytes:
        return self._files[self._sites[site] % len(self._files)].read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)


def adapter_of_vit_b(folder: Path) -> dict[str, list[int]]:
    """The layout of a ViT-B's adapter as the site builds it; the weights of the base do not matter here."""
    from safetensors.torch import save_file

    from monailabel_app.models.registry import build_segmenter
    from monailabel_app.models.sam_build import SHAPES, new_network

    base = folder / "vit_b.safetensors"
    save_file({n: t.contiguous() for n, t in new_network(SHAPES["sam_vit_b"], 1024).state_dict().items()}, base)
    built = build_segmenter(ModelSpec(name="sam", base="sam_vit_b"), {"tumour": 1}, checkpoint=base)
    base.unlink()
    return {name: list(shape) for name, shape in built.adapter_shapes().items()}


def prepare(folder: Path, layout: dict[str, list[int]], method: str, count: int) -> Path:
    """A plan for so many sites, the start, and a few updates, as files."""
    from fed_backend.methods.fedsm import fedsm_layout
    from fed_backend.objectives.selector import selector_shapes

    target = folder / f"{method}-{count}"
    target.mkdir()
    settings: dict[str, Any] = {"mu": 0.01} if method == "fedprox" else {}
    adapter: Mapping[str, Sequence[int]] = layout
    if method == "fedsm":
        settings = {"sites": ",".join(Stored(folder, count))}
        adapter = fedsm_layout({name: tuple(shape) for name, shape in layout.items()}, selector_shapes(count))
    spec = {"name": method, "settings": settings}
    plan = parse_plan({"base_sha256": BASE, "adapter": adapter, "labels": {"tumour": 1}, "method": spec})
    save_plan(plan, target / "plan.json")
    rng = np.random.default_rng(0)
    start = {n: np.abs(rng.standard_normal(shape, dtype=np.float32)) for n, shape in plan.adapter.items()}
    (target / "start").write_bytes(encode(_header(plan, "hub", "global"), start))
    shared = {name: start[name] for name in sorted(build_method(plan).shared_keys())}
    for number in range(STORED):
        moved = {n: np.abs(t + 0.01 * rng.standard_normal(t.shape, dtype=np.float32)) for n, t in shared.items()}
        (target / f"{number}.update").write_bytes(encode(_header(plan, f"site{number:04}", "update"), moved))
    return target


def _header(plan: Plan, site: str, kind: Kind, number: int = 0) -> PayloadHeader:
    return PayloadHeader(
        kind=kind,
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site=site,
        federation_round="scale",
        round=number,
        method=plan.method.name,
        examples=7,
    )


def aggregate(folder: Path, count: int) -> dict[str, Any]:
    """Combine the updates of ``count`` sites in this process."""
    plan = load_plan(folder / "plan.json")
    start = (folder / "start").read_bytes()
    aggregator = Aggregator(plan, plan.method.name, start=start)
    updates = Stored(folder, count)
    before = _peak()
    began = time.perf_counter()
    aggregator.combine("scale", 0, updates, dict.fromkeys(updates, start))
    seconds = time.perf_counter() - began
    size = len(next(iter(updates.values())))
    return {
        "method": plan.method.name,
        "sites": count,
        "update_mb": round(size / 1e6, 1),
        "seconds": round(seconds, 2),
        "ms_per_site": round(1e3 * seconds / count, 1),
        "memory_mb": round(_peak() - before, 1),
        "memory_in_updates": round((_peak() - before) * 1e6 / size, 1),
    }


def _peak() -> float:
    """Most memory that this program held so far, MB; the kernel's ``getrusage`` would count what started it."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1e3


class Peer:
    """A site with a vector for a model, which averages with whoever visits it."""

    def __init__(self, name: str, plan: Plan, tensors: Tensors, examples: int) -> None:
        self.name, self.examples, self.tensors = name, examples, tensors
        self._plan, self._method = plan, GCML(plan)

    def lend(self, number: int) -> bytes:
        return encode(_header(self._plan, self.name, "update", number), self.tensors)

    def visit(self, data: bytes) -> Mapping[str, Any]:
        header, tensors = decode(data)
        own = Update(self.name, self.tensors, self.examples)
        self.tensors = self._method.candidates(own, Update(header.site, tensors, header.examples))["mean"]
        return {}


def converge(count: int, seed: int = 0) -> dict[str, Any]:
    """Distance to consensus after each exchange of ``count`` sites."""
    draft = {"base_sha256": BASE, "adapter": {"w": [64]}, "labels": {"tumour": 1}, "method": {"name": "gcml"}}
    plan = parse_plan(draft)
    rng = np.random.default_rng((seed, count))
    names = [f"site{number:04}" for number in range(count)]
    peers = [Peer(n, plan, {"w": rng.standard_normal(64, dtype=np.float32)}, int(rng.integers(3, 40))) for n in names]

    def distance() -> float:
        models = np.stack([peer.tensors["w"] for peer in peers]).astype(np.float64)
        return float(np.sqrt(np.square(models - models.mean(axis=0)).sum(axis=1).mean()))

    begun, curve, sent, lost = distance(), [1.0], 0, 0
    runs = simulate_gossip(plan, peers, EXCHANGES, seed=seed, arrives=lambda *_: bool(rng.random() >= FAILING))
    for exchanged in runs:
        sent, lost = sent + len(exchanged.transfers), lost + len(exchanged.dropped)
        curve.append(round(distance() / begun, 5))
    halved = next((number for number, value in enumerate(curve) if value <= 0.5), None)
    tenth = next((number for number, value in enumerate(curve) if value <= 0.1), None)
    return {"sites": count, "arrived": sent, "lost": lost, "to_half": halved, "to_tenth": tenth, "distance": curve}


def table(rows: Sequence[dict[str, Any]], gossip: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["# Many sites", "", "`make bench-scale`. Aggregation at the hub, updates of a SAM ViT-B adapter.", ""]
    lines += ["| method | sites | one update | seconds | per site | memory | in updates |", "|" + "---|" * 7]
    for row in rows:
        lines.append(
            f"| {row['method']} | {row['sites']} | {row['update_mb']} MB | {row['seconds']} | {row['ms_per_site']} ms "
            f"| {row['memory_mb']} MB | {row['memory_in_updates']} |"
        )
    lines += ["", f"Gossip, {FAILING:.0%} of the transfers failing; a quarter of the sites sends in an exchange.", ""]
    marks = (0, 5, 10, 20, 40, EXCHANGES)
    lines += ["| sites | distance after " + " | ".join(map(str, marks)) + " exchanges | to a half | to a tenth |"]
    lines += ["|" + "---|" * (3 + len(marks))]
    for row in gossip:
        values = " | ".join(f"{row['distance'][mark]:.3f}" for mark in marks)
        lines.append(f"| {row['sites']} | {values} | {row['to_half']} | {row['to_tenth']} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "SITES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(aggregate(Path(options.one[0]), int(options.one[1]))))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="fedseg-scale-") as scratch:
        layout = adapter_of_vit_b(Path(scratch))
        for method, counts in METHODS.items():
            for count in counts:
                folder = prepare(Path(scratch), layout, method, count)
                command = [sys.executable, "-m", "bench.scale", "--one", str(folder), str(count)]
                rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
                print(json.dumps(rows[-1]), flush=True)
                shutil.rmtree(folder)
    gossip = [converge(count) for count in GOSSIP]
    RESULTS.write_text(json.dumps({"aggregation": rows, "gossip": gossip}, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(table(rows, gossip))
    print(table(rows, gossip))
    return 0


if __name__ == "__main__":
    sys.exit(main())
