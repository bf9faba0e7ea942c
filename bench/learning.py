"""Learning from few corrections on real images: below or above the model that a site started with?

    make bench-learning                                   everything; hours, goes on where it stopped
    make bench-learning ARGS="--seeds 0 --corrections 1,4 --settings lgg --model sam"

Base: a model trained at the other sites. A site then corrects k patients. Methods: ``naive``
fine-tuning (150 steps on the corrected patients alone), ``ungated`` (the site's recipe), ``gated`` (the same, serving
only if the gate lets it: validation patients, and cross-validation while these are few; where the step is
refused though better on average, the smaller one), ``scratch`` (k patients alone). Dice is volumetric, mean
over the site's test patients, which no training, no choice of settings and no gate saw. Settings: glioma MRI with the
masks as they are (``lgg``), or of a site that outlines 2 pixels wider or tighter; and ``nuclei``, where every site is
another imaging domain. Every finished cell is appended to bench/results/learning.json at once; several processes may
run. A row of ``gated`` holds the evidence: case -> Dice of the champion, of the step, of the smaller step.
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
from filelock import FileLock
from safetensors.numpy import load_file, save_file

from bench.learning_data import LABELS, NUCLEI, POLICIES, Case, Sites, load_nuclei, load_sites, with_policy
from bench.learning_gate import Judgement, judge
from bench.learning_plot import draw
from bench.learning_table import write_table
from bench.precision import PRECISIONS, compute_in
from fed_backend.payload import Tensors
from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.recipe import (
    REHEARSED,
    SMALLER,
    Rehearsal,
    between,
    learn_from,
    rehearse,
    with_batch,
    with_steps,
)
from monailabel_app.models.base import Segmenter
from monailabel_app.models.registry import build_segmenter, default_spec

RESULTS = Path(__file__).resolve().parent / "results" / "learning.json"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "learning.png"
LABEL = "tumour"
OURS = TrainingSpec()
SPECS = {
    "unet": ModelSpec(image_size=96, channels=(16, 32, 64, 128)),
    "sam": default_spec("sam"),
}


@dataclass(frozen=True)
class Budget:
    """How the models that ours is compared with are trained."""

    base: TrainingSpec
    naive: TrainingSpec
    scratch: TrainingSpec


BUDGETS = {
    "unet": Budget(
        TrainingSpec(steps=700, batch_size=8, learning_rate=2e-3),
        TrainingSpec(steps=150, batch_size=8, learning_rate=3e-4),
        TrainingSpec(steps=300, batch_size=8, learning_rate=2e-3),
    ),
    "sam": Budget(
        TrainingSpec(steps=200, batch_size=8, learning_rate=1e-3),
        TrainingSpec(steps=150, batch_size=8, learning_rate=1e-3),
        TrainingSpec(steps=150, batch_size=8, learning_rate=1e-3),
    ),
}
NAMES = {"unet": "unet", "sam": "sam_tiny"}

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
    """Runs cells with one segmenter.

    Args:
        sites: of one data set.
        work: trained bases are kept here.
        model: ``unet`` or ``sam``.
        label: what is outlined.
        precision: of the U-Net's passes; see :mod:`bench.precision`.
    """

    def __init__(
        self, sites: Sites, work: Path, model: str = "unet", label: str = LABEL, precision: str = "float32"
    ) -> None:
        self.sites = sites
        self.work = work
        self.model = model
        self.label = label
        self.budget = BUDGETS[model]
        self.precision = precision
        spec = SPECS[model]
        if model == "unet" and label != LABEL:
            spec = spec.model_copy(update={"image_size": 128})  # small things in large pictures
        self.segmenter: Segmenter = build_segmenter(spec, {label: 1})
        compute_in(self.segmenter.network, precision)
        self.untrained = self.segmenter.adapter()

    def base(self, site: str) -> Tensors:
        """The model trained at all other sites; made once and kept in the work folder."""
        path = self.work / f"base-{self.model}-{self.label}-{self.precision}-{site}.safetensors"
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                print(f"training the base without {site}", flush=True)
                others = [case for name, parts in self.sites.items() if name != site for case in parts["train"]]
                save_file(self.fit(self.untrained, others, Rehearsal(), self.budget.base, 0), path)
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
        return fmean(found[self.label] for found in self.scores(tensors, cases).values())

    def run(self, cell: Cell) -> Iterator[dict[str, Any]]:
        """Rows of a cell, one per method."""
        base = self.base(cell.site)
        before = self.dice(base, cell.test)
        for method in ("naive", "ungated", "gated"):
            yield {"method": method, "k": 0, "dice": before}
        naive = self.fit(base, cell.corrected, Rehearsal(), self.budget.naive, cell.seed)
        yield {"method": "naive", "k": cell.k, "dice": self.dice(naive, cell.test)}
        begin = time.perf_counter()
        pairs = [(case.volume, case.mask) for case in cell.corrected]
        uncorrected = {case.name: case.volume for case in cell.uncorrected[:REHEARSED]}
        rehearsal = rehearse(self.segmenter, base, pairs, uncorrected, trained=True)
        training = with_steps(with_batch(OURS, self.model), cell.k, self.model, rehearsal)
        whole = Rehearsal(rehearsal.cases, rehearsal.images, rehearsal.trust)
        tuned = self.fit(base, cell.corrected, whole, training, cell.seed)
        ours = between(base, tuned, rehearsal.keep) if rehearsal.keep else tuned
        trained = time.perf_counter()
        steps = [ours, between(base, tuned, SMALLER)] if rehearsal.keep else [ours]
        shares = [rehearsal.keep, SMALLER][: len(steps)]
        found = judge(
            cell.corrected,
            lambda tensors, held_out: self.scores(tensors, held_out),
            lambda rest: self.fit(base, rest, whole, training, cell.seed),
            base,
            steps,
            shares,
            cell.validation,
        )
        seconds = {"train": trained - begin, "gate": time.perf_counter() - trained}
        after = self.dice(ours, cell.test)
        yield {"method": "ungated", "k": cell.k, "dice": after}
        yield {
            "method": "gated",
            "k": cell.k,
            "dice": self._served(found, [before, after], steps, cell),
            **found.as_json(),
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
        }
        if cell.setting in ("lgg", NUCLEI):
            scratch = self.fit(self.untrained, cell.corrected, Rehearsal(), self.budget.scratch, cell.seed)
            yield {"method": "scratch", "k": cell.k, "dice": self.dice(scratch, cell.test)}

    def _served(self, found: Judgement, known: list[float], steps: list[Tensors], cell: Cell) -> float:
        if found.promoted is None:
            return known[0]
        return known[1] if found.promoted == 0 else self.dice(steps[found.promoted], cell.test)


def cell_of(sites: Sites, setting: str, site: str, seed: int, k: int) -> Cell:
    """Draw k corrected patients; what the site outlines follows its policy everywhere."""
    parts = {name: with_policy(cases, setting) for name, cases in sites[site].items()}
    order = np.random.default_rng((seed, *site.encode())).permutation(len(parts["train"]))
    train = [parts["train"][index] for index in order]
    return Cell(setting, site, seed, k, train[:k], train[k:], parts["val"], parts["test"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path("bench-out"), help="trained bases are kept here")
    parser.add_argument("--model", choices=list(SPECS), default="unet")
    parser.add_argument("--settings", default=",".join((*POLICIES, NUCLEI)))
    parser.add_argument("--sites", default="", help="all where left out")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--corrections", default="1,2,4,7")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="bfloat16 is faster on some CPUs")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no folder {options.data}: name the images with --data", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    benches: dict[str, Bench] = {}
    for seed in map(int, options.seeds.split(",")):
        for k in map(int, options.corrections.split(",")):
            for setting in options.settings.split(","):
                label = LABELS.get(setting, LABEL)
                if label not in benches:
                    load, name = (load_nuclei, "nuclei-dsb2018") if setting == NUCLEI else (load_sites, "lgg-5site")
                    benches[label] = Bench(
                        load(options.data / name), options.work, options.model, label, options.precision
                    )
                bench = benches[label]
                for site in options.sites.split(",") if options.sites else bench.sites:
                    if len(bench.sites[site]["train"]) >= k:
                        run_cell(bench, cell_of(bench.sites, setting, site, seed, k))
    return 0


def run_cell(bench: Bench, cell: Cell) -> None:
    """Run a cell unless it is there, and append its rows."""
    key = {"setting": cell.setting, "model": NAMES[bench.model], "site": cell.site, "seed": cell.seed}
    if any(row["k"] == cell.k and key.items() <= row.items() for row in _record()["curve"]):
        return
    told = {**key, "precision": bench.precision}
    rows = [{**told, **row, "dice": round(row["dice"], 4)} for row in bench.run(cell)]
    with FileLock(RESULTS.with_suffix(".lock")):
        record = _record()
        have = {(row["method"], row["k"]) for row in record["curve"] if key.items() <= row.items()}
        record["curve"] += [row for row in rows if (row["method"], row["k"]) not in have]
        write_table(record, RESULTS)
        draw(record["curve"], PICTURE)
    print(json.dumps({name: value for name, value in rows[-1].items() if name != "evidence"}), flush=True)


def _record() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text())) if RESULTS.is_file() else {"curve": []}


if __name__ == "__main__":
    sys.exit(main())
