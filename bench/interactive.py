"""How long an annotator waits, against the bare network and against MONAI Label's own SAM2 task.

    make bench-interactive
    make bench-interactive ARGS="--skip-vit"

Everything is measured in one run on one machine, pairs taken by turns; figures are medians unless
named otherwise. Weights are as shipped or random: times do not depend on them. Results go to
bench/results/interactive.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.bare_network import BareNetwork, write_vit_b
from bench.figures import machine, rounded
from bench.interactive_site import SHAPE, Annotator, SiteProcess, make_volume, median, percentile
from bench.interactive_table import table
from monailabel_app.models.heap import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
Figures = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--skip-vit", action="store_true", help="leave the ViT-B shape out (minutes)")
    parser.add_argument("--skip-stock", action="store_true", help="leave MONAI Label's server out")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as the site does by default
    with tempfile.TemporaryDirectory(prefix="fedseg-bench-") as name:
        folder = Path(name)
        make_volume(folder / "studies")
        found = {
            "machine": {**machine(), "torch": torch.__version__, "load": round(os.getloadavg()[0], 2)},
            **tiny(folder, options.clicks),
        }
        if not options.skip_stock:
            found |= stock(folder, found["warm_click_ms"])
            found["reply_share"] = found["reply_bytes"] / found["stock_reply_bytes"]
        if not options.skip_vit:
            found["vit_b"] = vit_b(folder, max(10, options.clicks // 4))
        found |= kept_memory(found["cold_click_ms"])
    RESULTS.mkdir(exist_ok=True)
    figures = rounded(found)
    (RESULTS / "interactive.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "interactive.md").write_text(table(figures))
    print(table(figures))
    return 0


def tiny(folder: Path, clicks: int) -> Figures:
    """All figures of ``sam_tiny``."""
    site = SiteProcess(folder / "tiny", folder / "studies")
    try:
        bare = BareNetwork.tiny()
        found = warm(site, bare, clicks)
        found |= cold(site, bare, max(6, clicks // 5))
        found |= paging(site)
        found |= users(site)
        found |= switch(site)
        found |= info_while_encoding(site)
    finally:
        site.stop()
    return found


def warm(site: SiteProcess, bare: BareNetwork, clicks: int) -> Figures:
    """(a), (e): a click on a slice whose features are there, by turns with the decoder alone."""
    annotator = Annotator(site)
    settle(annotator, 100)
    waited, decoded, sizes, server = [], [], [], []
    for _ in range(clicks):
        spent, size, header = annotator.click(100)
        waited.append(spent)
        sizes.append(float(size))
        server.append(header["milliseconds"]["total"] / 1e3)
        decoded.append(bare.decode())
    annotator.close()
    return {
        "warm_click_ms": median(waited),
        "warm_click_p95_ms": percentile(waited, 95),
        "warm_server_ms": median(server),
        "decoder_ms": median(decoded),
        "warm_ratio": median(waited) / median(decoded),
        "reply_bytes": float(np.median(sizes)),
    }


def cold(site: SiteProcess, bare: BareNetwork, count: int) -> Figures:
    """(c): a click on a slice that nobody looked at, by turns with the encoder and decoder alone.

    The annotator looks elsewhere first, so that what is fetched ahead is not what is clicked. Both
    have one thread, and the bare network its processor to itself: nothing is fetched meanwhile.
    """
    annotator = Annotator(site)
    numbers = random.Random(1).sample(range(0, 60), count)
    waited, rounded, exact = [], [], []
    stages: dict[str, list[float]] = {}
    settle(annotator, 150)
    for number in numbers:
        spent, _, header = annotator.click(number)
        if header["features"] == ["full"]:
            waited.append(spent)
            parts = header["milliseconds"]
            for stage, value in {**parts, "http": spent * 1e3 - parts["total"]}.items():
                stages.setdefault(stage, []).append(value)
        settle(annotator, 150)
        rounded.append(bare.encode() + bare.decode())
        exact.append(bare.encode(exact=True) + bare.decode())
    annotator.close()
    return {
        "cold_click_ms": median(waited),
        "encoder_ms": median(rounded),
        "encoder_float32_ms": median(exact),
        "cold_ratio": median(waited) / median(rounded),
        "cold_ratio_float32": median(waited) / median(exact),
        "cold_clicks": len(waited),
        "cold_stages_ms": {stage: float(np.median(values)) for stage, values in stages.items()},
    }


def kept_memory(cold_ms: float, count: int = 15) -> Figures:
    """(c) once more, the bare network under the site's setting of the C library's memory, which stays from here on."""
    bare = BareNetwork.tiny()
    if not keep_freed_memory():
        return {}
    spent = [bare.encode() + bare.decode() for _ in range(count + 3)][3:]
    return {"encoder_kept_memory_ms": median(spent), "cold_ratio_kept_memory": cold_ms / median(spent)}


def paging(site: SiteProcess, seconds: float = 15.0) -> Figures:
    """(d): paging at 3 slices a second through slices that nobody has seen; hits after the first second."""
    annotator = Annotator(site)
    hits = []
    for step in range(int(3 * seconds)):
        due = time.perf_counter() + 1 / 3
        warm_hit = annotator.look(63 + step)
        if step >= 3:
            hits.append(warm_hit)
        time.sleep(max(0.0, due - time.perf_counter()))
    annotator.close()
    return {"paging_warm_share": sum(hits) / len(hits)}


def users(site: SiteProcess, count: int = 8) -> Figures:
    """(f): p95 of a click for one annotator and for eight, each clicking once a second; and without pauses."""
    one, many = (at_once(site, number, pause=1.0, clicks=20) for number in (1, count))
    one_fast, many_fast = (at_once(site, number, pause=0.0, clicks=20) for number in (1, count))
    return {
        "p95_1_user_ms": percentile(one, 95),
        "p95_8_users_ms": percentile(many, 95),
        "p95_ratio_8_users": percentile(many, 95) / percentile(one, 95),
        "p95_ratio_8_users_no_pause": percentile(many_fast, 95) / percentile(one_fast, 95),
    }


def at_once(site: SiteProcess, count: int, *, pause: float, clicks: int) -> list[float]:
    """Seconds of every click of ``count`` annotators, each on a slice of its own."""
    annotators = [Annotator(site) for _ in range(count)]
    for number, annotator in enumerate(annotators):
        settle(annotator, 60 + 12 * number)
    waited: list[float] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(clicks):
            time.sleep(pause * chance.uniform(0.5, 1.5))
            waited.append(annotators[number].click(60 + 12 * number)[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for annotator in annotators:
        annotator.close()
    return waited


def switch(site: SiteProcess) -> Figures:
    """(g): the longest click while a new champion, whose upper blocks differ, takes over."""
    version = BareNetwork.new_version(site.state)
    annotator = Annotator(site)
    settle(annotator, 100)
    before = [annotator.click(100)[0] for _ in range(10)]
    site.promote(version)
    waited: list[float] = []
    answered = ""
    deadline = time.monotonic() + 20
    while (answered != version or len(waited) < 30) and time.monotonic() < deadline:
        spent, _, header = annotator.click(100)
        waited.append(spent)
        answered = header["version"]
    annotator.close()
    if answered != version:
        raise RuntimeError("the new champion did not take over")
    return {"switch_stall_ms": max(waited) * 1e3, "click_before_switch_ms": median(before)}


def info_while_encoding(site: SiteProcess, count: int = 300) -> Figures:
    """(h): ``/info/`` while slices are encoded without a pause."""
    annotator = Annotator(site)
    stop = threading.Event()

    def encode() -> None:
        index = 0
        while not stop.is_set():
            annotator.look(index % SHAPE[2])
            annotator.click(index % SHAPE[2])
            index += 7

    worker = threading.Thread(target=encode)
    worker.start()
    spent = [site.info() for _ in range(count)]
    stop.set()
    worker.join()
    annotator.close()
    return {"info_p99_ms": percentile(spent, 99), "info_median_ms": median(spent)}


def stock(folder: Path, warm_ms: float) -> Figures:
    """(b), (e): the same click at MONAI Label's own server, whose torch uses all cores."""
    from bench.stock_sam2 import StockServer

    server = StockServer(folder / "stock", folder / "studies")
    try:
        server.click("big", (250, 260, 100))  # reads image and model
        replies = [server.click("big", (250 + n, 260, 100)) for n in range(5)]
    finally:
        server.stop()
    spent = median([seconds for seconds, _ in replies])
    return {
        "monailabel_click_ms": spent,
        "speedup_vs_monailabel": spent / warm_ms,
        "stock_reply_bytes": replies[0][1],
    }


def vit_b(folder: Path, clicks: int) -> Figures:
    """(a), (c) for weights of ViT-B's shape, 1024 pixels."""
    checkpoint = write_vit_b(folder / "vit_b.safetensors")
    plan = folder / "vit_b.json"
    create = ["plan", "create", "--model", "sam", "--base", "sam_vit_b", "--image-size", "1024", "--lora-blocks", "2"]
    create += ["--labels", "tumour=1", "--checkpoint", str(checkpoint), "--out", str(plan)]
    subprocess.run([sys.executable, "-m", "monailabel_app", *create], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    site = SiteProcess(folder / "vit_b", folder / "studies", "--plan", str(plan), "--checkpoint", str(checkpoint))
    try:
        bare = BareNetwork.vit_b(checkpoint)
        annotator = Annotator(site)
        first, _, header = annotator.click(100)
        waited, decoded = [], []
        for _ in range(clicks):
            waited.append(annotator.click(100)[0])
            decoded.append(bare.decode())
        annotator.look(3)
        started, _, far = annotator.click(3)
        annotator.close()
        encoded = bare.encode()
    finally:
        site.stop()
    return {
        "warm_click_ms": median(waited),
        "warm_click_p95_ms": percentile(waited, 95),
        "decoder_ms": median(decoded),
        "warm_ratio": median(waited) / median(decoded),
        "first_click_ms": first * 1e3,
        "cold_click_ms": started * 1e3,
        "cold_source": [*header["features"], *far["features"]],
        "encoder_ms": encoded * 1e3,
        "cold_ratio": started / (encoded + median(decoded) / 1e3),
    }


def settle(annotator: Annotator, index: int) -> None:
    """Look at a slice until it and its neighbours are warm, so that nothing is fetched meanwhile."""
    deadline = time.monotonic() + 300
    around = [number for number in range(index - 24, index + 25) if 0 <= number < SHAPE[2]]
    annotator.look(index)
    while time.monotonic() < deadline and not _all_warm(annotator.look, index, around):
        time.sleep(0.2)


def _all_warm(look: Callable[[int], bool], index: int, around: list[int]) -> bool:
    # the farthest slices are fetched last; looking back leaves the centre where it was
    warm_ends = look(around[0]) and look(around[-1])
    look(index)
    return warm_ends


if __name__ == "__main__":
    sys.exit(main())
