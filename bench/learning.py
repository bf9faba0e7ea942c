"""Learning from few corrections on real glioma MRI: below or above the model that a site started with?

    make bench-learning                                   everything; hours, goes on where it stopped
    make bench-learning ARGS="--seeds 0 --corrections 1,4 --settings lgg"

Base: a U-Net trained at the other three sites. A site then corrects k patients. Methods: ``naive``
fine-tuning (learning rate 3e-4, 150 steps), ``ungated`` (the site's recipe), ``gated`` (the same, serving
only if the gate lets it: validation patients, and cross-validation while these are few), ``scratch``
(k patients alone). Dice is volumetric, mean over the site's test patients, which no training, no choice
of settings and no gate saw. Settings: the masks as they are, or a site that outlines 2 pixels wider or
tighter. Every finished cell is appended to bench/results/learning.json at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from bench.learning_data import POLICIES, Case, Sites, load_sites, with_policy
from bench.learning_table import write_table
from fed_backend.payload import Tensors
from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.gate import Pair, decide, hopeless, obvious
from monailabel_app.learning.recipe import REHEARSED, Rehearsal, learn_from, rehearse, with_steps
from monailabel_app.learning.tasks.crossing import FOLDS
from monailabel_app.models.base import Segmenter
from monailabel_app.models.registry import build_segmenter

RESULTS = Path(__file__).resolve().parent / "results" / "learning.json"
SPEC = ModelSpec(image_size=96, channels=(16, 32, 64, 128))
LABEL = "tumour"
BASE = TrainingSpec(steps=700, batch_size=8, learning_rate=2e-3)
NAIVE = TrainingSpec(steps=150, batch_size=8, learning_rate=3e-4)
SCRATCH = TrainingSpec(steps=300, batch_size=8, learning_rate=2e-3)
OURS = TrainingSpec()

Scores = dict[str, dict[str, float]]


@dataclass
class Cell:
    """One site in one setting with k corrected patients."""

    setting: str
    site: str
    seed: int
    k: int
    corrected: list[Case]
    uncorrected: list[Case]
    validation: list[Case]
    test: list[Case]


class Bench:
    """Runs cells with one segmenter."""

    def __init__(self, sites: Sites, work: Path) -> None:
        self.sites = sites
        self.work = work
        self.segmenter: Segmenter = build_segmenter(SPEC, {LABEL: 1})
        self.untrained = self.segmenter.adapter()

    def base(self, site: str) -> Tensors:
        """The model trained at all other sites; made once and kept in the work folder."""
        path = self.work / f"base-{site}.safetensors"
        if not path.is_file():
            print(f"training the base without {site}", flush=True)
            others = [case for name, parts in self.sites.items() if name != site for case in parts["train"]]
            save_file(self.fit(self.untrained, others, Rehearsal(), BASE, 0), path)
        return load_file(path)

    def fit(
        self, start: Tensors, cases: list[Case], rehearsal: Rehearsal, training: TrainingSpec, seed: int
    ) -> Tensors:
        pairs = [(case.volume, case.mask) for case in cases]
        return learn_from(self.segmenter, start, pairs, rehearsal, training, seed=seed).tensors

    def scores(self, tensors: Tensors, cases: list[Case]) -> Scores:
        self.segmenter.load_adapter(tensors)
        return evaluate(self.segmenter, [(case.name, (case.volume, case.mask)) for case in cases])

    def dice(self, tensors: Tensors, cases: list[Case]) -> float:
        return fmean(found[LABEL] for found in self.scores(tensors, cases).values())

    def run(self, cell: Cell) -> Iterator[dict[str, Any]]:
        """Rows of a cell, one per method."""
        base = self.base(cell.site)
        before = self.dice(base, cell.test)
        for method in ("naive", "ungated", "gated"):
            yield {"method": method, "k": 0, "dice": before}
        naive = self.fit(base, cell.corrected, Rehearsal(), NAIVE, cell.seed)
        yield {"method": "naive", "k": cell.k, "dice": self.dice(naive, cell.test)}
        begin = time.perf_counter()
        pairs = [(case.volume, case.mask) for case in cell.corrected]
        uncorrected = {case.name: case.volume for case in cell.uncorrected[:REHEARSED]}
        rehearsal = rehearse(self.segmenter, base, pairs, uncorrected, trained=True)
        training = with_steps(OURS, cell.k)
        ours = self.fit(base, cell.corrected, rehearsal, training, cell.seed)
        trained = time.perf_counter()
        promoted, reason = self.gate(cell, base, ours, rehearsal, training)
        seconds = {"train": trained - begin, "gate": time.perf_counter() - trained}
        after = self.dice(ours, cell.test)
        yield {"method": "ungated", "k": cell.k, "dice": after}
        yield {
            "method": "gated",
            "k": cell.k,
            "dice": after if promoted else before,
            "promoted": promoted,
            "reason": reason,
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
        }
        if cell.setting == "lgg":
            scratch = self.fit(self.untrained, cell.corrected, Rehearsal(), SCRATCH, cell.seed)
            yield {"method": "scratch", "k": cell.k, "dice": self.dice(scratch, cell.test)}

    def gate(
        self, cell: Cell, base: Tensors, ours: Tensors, rehearsal: Rehearsal, training: TrainingSpec
    ) -> tuple[bool, str]:
        """What the site's gate says, as in the learner: validation, then cross-validation where that is not enough."""
        before, after = self.scores(base, cell.validation), self.scores(ours, cell.validation)
        decision = decide(Pair(before, after))
        if len(before) >= decision.rule.cases_needed or cell.k < 2 or obvious(decision) or hopeless(decision, cell.k):
            return decision.promoted, decision.reason
        crossed: set[str] = set()
        for fold in range(min(FOLDS, cell.k)):
            held_out = cell.corrected[fold::FOLDS]
            rest = [case for case in cell.corrected if case not in held_out]
            before |= self.scores(base, held_out)
            after |= self.scores(self.fit(base, rest, rehearsal, training, cell.seed), held_out)
            crossed |= {case.name for case in held_out}
        decision = decide(Pair(before, after), crossed=crossed)
        return decision.promoted, decision.reason


def cell_of(sites: Sites, setting: str, site: str, seed: int, k: int) -> Cell:
    """Draw k corrected patients; what the site outlines follows its policy everywhere."""
    parts = {name: with_policy(cases, setting) for name, cases in sites[site].items()}
    order = np.random.default_rng((seed, *site.encode())).permutation(len(parts["train"]))
    train = [parts["train"][index] for index in order]
    return Cell(setting, site, seed, k, train[:k], train[k:], parts["val"], parts["test"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--work", type=Path, default=Path("bench-out"), help="trained bases are kept here")
    parser.add_argument("--settings", default=",".join(POLICIES))
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
    for seed in map(int, options.seeds.split(",")):
        for k in map(int, options.corrections.split(",")):
            for setting in options.settings.split(","):
                for site in options.sites.split(","):
                    run_cell(bench, cell_of(bench.sites, setting, site, seed, k))
    return 0


def run_cell(bench: Bench, cell: Cell) -> None:
    """Run a cell unless it is there, and append its rows."""
    record = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"curve": []}
    key = {"setting": cell.setting, "model": "unet", "site": cell.site, "seed": cell.seed}
    known = [row for row in record["curve"] if key.items() <= row.items()]
    if any(row["k"] == cell.k for row in known):
        return
    have = {(row["method"], row["k"]) for row in known}
    rows = [{**key, **row, "dice": round(row["dice"], 4)} for row in bench.run(cell)]
    record["curve"] += [row for row in rows if (row["method"], row["k"]) not in have]
    write_table(record, RESULTS)
    print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
