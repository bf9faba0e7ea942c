"""How much of the champion should a site keep when it learns from few corrections?

    make bench-recipe                                            all cells; half an hour, goes on where it stopped
    make bench-recipe ARGS="--draws 0 --cells lgg:1"

What `make bench-learning` measures on test patients was chosen here, on training and validation patients only:
a site corrects k drawn patients, up to four others are rehearsed, and the rest are scored. Rehearsal is tried
as ``always`` and, where the champion fails on the corrected patients, also ``never``; the result is mixed with the
champion in several shares (0 is the fine-tuned weights alone). Every finished cell is appended to
bench/results/recipe.json at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from bench.learning import OURS, Bench, Cell, cell_of
from bench.learning_data import load_sites
from fed_backend.payload import Tensors
from monailabel_app.learning.recipe import REHEARSED, TRUST, Rehearsal, learn_from, rehearse, with_steps

RESULTS = Path(__file__).resolve().parent / "results" / "recipe.json"
KEPT = (0.75, 0.5, 0.25, 0.0)
CELLS = "lgg:1,lgg:2,lgg:4,lgg-policy-wide:1,lgg-policy-wide:4"
FIRST_DRAW = 100
"""Draws of patients that the learning benchmark does not use."""

Row = dict[str, Any]


def rows_of(bench: Bench, cell: Cell) -> Iterator[Row]:
    """One row per way of rehearsing: Dice of the champion, and of each mix, on patients that took no part."""
    base = bench.base(cell.site)
    others = cell.validation + cell.uncorrected[REHEARSED:]
    before = bench.dice(base, others)
    pairs = [(case.volume, case.mask) for case in cell.corrected]
    uncorrected = {case.name: case.volume for case in cell.uncorrected[:REHEARSED]}
    rehearsal = rehearse(bench.segmenter, base, pairs, uncorrected, trained=True)
    assert rehearsal.trust is not None
    ways = {"always": rehearsal, **({"never": Rehearsal(trust=rehearsal.trust)} if rehearsal.trust < TRUST else {})}
    for way, kept in ways.items():
        training = with_steps(OURS, cell.k, bench.model, kept)
        tuned = learn_from(bench.segmenter, base, pairs, replace(kept, keep=0.0), training, seed=cell.seed).tensors
        change = {str(keep): bench.dice(_mixed(base, tuned, keep), others) - before for keep in KEPT}
        yield {
            "setting": cell.setting,
            "k": cell.k,
            "site": cell.site,
            "draw": cell.seed - FIRST_DRAW,
            "rehearsed": way,
            "trust": round(rehearsal.trust, 4),
            "patients": len(others),
            "dice": round(before, 4),
            "change": {keep: round(value, 4) for keep, value in change.items()},
        }


def table(rows: Sequence[Row]) -> str:
    """Mean and worst change of Dice for every way of learning, as Markdown."""
    groups: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        trusted = row["trust"] >= TRUST
        groups[row["setting"], row["k"], "yes" if trusted else f"no, rehearsed {row['rehearsed']}"].append(row)
    lines = [
        "# How much of the champion to keep",
        "",
        "U-Net on glioma MRI of four hospitals, base trained at the other three; `make bench-recipe`. Change of the",
        "mean Dice on training and validation patients of the site that took no part: mean over cells (site, draw),",
        f"worst in brackets. Trusted: the champion reaches {TRUST} Dice on the corrected patients.",
        "",
        "| setting | k | trusted | cells | " + " | ".join(f"{float(k):.0%} kept" for k in KEPT) + " |",
        "|" + "---|" * (4 + len(KEPT)),
    ]
    for (setting, k, trusted), found in sorted(groups.items()):
        cells = []
        for keep in map(str, KEPT):
            values = [row["change"][keep] for row in found]
            cells.append(f"{fmean(values):+.3f} ({min(values):+.3f})")
        lines.append(f"| {setting} | {k} | {trusted} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mixed(before: Tensors, after: Tensors, keep: float) -> Tensors:
    return {name: (keep * before[name] + (1 - keep) * tensor).astype(tensor.dtype) for name, tensor in after.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--work", type=Path, default=Path("bench-out"), help="trained bases are kept here")
    parser.add_argument("--cells", default=CELLS, help="setting:k, separated by commas")
    parser.add_argument("--sites", default="CS,DU,FG,HT")
    parser.add_argument("--draws", default="0,1,2,3")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no folder {options.data}: name the images with --data", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(load_sites(options.data), options.work)
    for draw in map(int, options.draws.split(",")):
        for setting, k in (cell.split(":") for cell in options.cells.split(",")):
            for site in options.sites.split(","):
                run_cell(bench, cell_of(bench.sites, setting, site, FIRST_DRAW + draw, int(k)))
    return 0


def run_cell(bench: Bench, cell: Cell) -> None:
    """Run a cell unless it is there, and append its rows."""
    rows: list[Row] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    key = {"setting": cell.setting, "k": cell.k, "site": cell.site, "draw": cell.seed - FIRST_DRAW}
    if any(key.items() <= row.items() for row in rows):
        return
    rows += rows_of(bench, cell)
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(json.dumps(rows, indent=1) + "\n")
    temporary.replace(RESULTS)
    RESULTS.with_suffix(".md").write_text(table(rows))
    print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
