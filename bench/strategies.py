"""Which patients to correct first? The product's four strategies on real glioma MRI.

    make bench-strategies                                   half an hour, goes on where it stopped
    make bench-strategies ARGS="--seeds 0 --sites CS"

Base: a U-Net trained at the other three sites, as in `make bench-learning`. A site that starts with it asks a
strategy for one training patient after the other and corrects it; then it learns from the base on the first k of
them with the site's recipe. While patients are chosen the base is the champion, as at a site that learns by night
or by hand. A seed draws what is random: the training, the rehearsed patients, and the choice of ``random``; the
other strategies choose the same patients under every seed. Dice is volumetric, mean over the site's test patients,
which no strategy and no training saw. Equal sets of patients are learned once. Every finished set is appended to
bench/results/strategies.json at once; docs/images/strategies.png is drawn at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.learning import OURS, Bench, Cell, cell_of
from bench.learning_data import load_sites
from bench.strategies_site import ChoosingSite
from bench.strategies_table import COLOURS, draw, write_table
from monailabel_app.learning.recipe import REHEARSED, learn_from, rehearse, with_steps

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results" / "strategies.json"
PICTURE = ROOT.parent / "docs" / "images" / "strategies.png"

Row = dict[str, Any]


def dice_of(bench: Bench, cell: Cell, chosen: Sequence[str]) -> float:
    """Test Dice of what the site's recipe makes of the base and the chosen patients.

    Args:
        bench: holds the segmenter.
        cell: the site, with all its training patients in the seed's order.
        chosen: names of those that were corrected.
    """
    corrected = [case for case in cell.corrected if case.name in chosen]
    rest = [case for case in cell.corrected if case.name not in chosen][:REHEARSED]
    pairs = [(case.volume, case.mask) for case in corrected]
    base = bench.base(cell.site)
    rehearsal = rehearse(bench.segmenter, base, pairs, {case.name: case.volume for case in rest}, trained=True)
    training = with_steps(OURS, len(corrected), bench.model, rehearsal)
    learned = learn_from(bench.segmenter, base, pairs, rehearsal, training, seed=cell.seed)
    return bench.dice(learned.tensors, cell.test)


def orders_of(bench: Bench, site: str, seed: int) -> dict[str, list[str]]:
    """Strategy -> the site's training patients in the order in which it asks for them."""
    with tempfile.TemporaryDirectory() as folder:
        orders = {}
        for strategy in COLOURS:
            with ChoosingSite(Path(folder) / strategy, bench, site) as choosing:
                orders[strategy] = choosing.order(strategy, seed)
        return orders


def run_site(bench: Bench, site: str, seed: int, corrections: Sequence[int]) -> None:
    """Run one site with one seed, but for what is there already."""
    record = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"curve": []}
    rows: list[Row] = record["curve"]
    here = {"site": site, "seed": seed}
    cell = cell_of(bench.sites, "lgg", site, seed, len(bench.sites[site]["train"]))
    if all(_have(rows, here, strategy, k) for strategy in COLOURS for k in corrections):
        return
    if not any(row["site"] == site and row["k"] == 0 for row in rows):
        rows.append({"site": site, "k": 0, "dice": round(bench.dice(bench.base(site), cell.test), 4)})
    orders = orders_of(bench, site, seed)
    for k in corrections:
        for strategy, order in orders.items():
            if _have(rows, here, strategy, k):
                continue
            patients = sorted(order[:k])
            same = next((row for row in rows if here.items() <= row.items() and row["patients"] == patients), None)
            dice = same["dice"] if same else round(dice_of(bench, cell, patients), 4)
            rows.append({**here, "strategy": strategy, "k": k, "patients": patients, "dice": dice})
            write_table(rows, RESULTS)
            print(json.dumps({**rows[-1], "again": same is not None}), flush=True)


def _have(rows: Sequence[Row], here: Row, strategy: str, k: int) -> bool:
    key = {**here, "strategy": strategy, "k": k}
    return any(key.items() <= row.items() for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--work", type=Path, default=Path("bench-out"), help="trained bases are kept here")
    parser.add_argument("--sites", default="CS,DU,FG,HT")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--corrections", default="1,2,4,7")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no folder {options.data}: name the images with --data", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(load_sites(options.data), options.work)
    corrections = [int(k) for k in options.corrections.split(",")]
    for seed in map(int, options.seeds.split(",")):
        for site in options.sites.split(","):
            run_site(bench, site, seed, corrections)
    draw(json.loads(RESULTS.read_text())["curve"], PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
