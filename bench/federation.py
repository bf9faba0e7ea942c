"""Federated methods on real images of several hospitals, at equal gradient steps.

    make bench-federation                                          FedAvg and its baselines, seed 0
    make bench-federation ARGS="--methods fedsm,fedsca --seeds 0,1,2"
    make bench-federation ARGS=--full                              every method, three seeds; hours

Finished (method, seed) pairs stand in bench/results/federation.json and are not computed again, so an
interrupted run goes on where it was. A row is {dataset, model, method, seed, site, part, dice, bytes_up,
bytes_down, seconds, steps}; dice is volumetric, the mean over the cases of a part:

- ``test``: what the site's gate let serve, on the site's own test cases;
- ``test-offered``: what was last offered, whether or not it serves;
- ``unseen``: a model common to all sites, on cases of a site that took no part.

Of FedSM, ``fedsm`` is the routed answer; ``fedsm-personal`` and ``fedsm-global`` are its two models alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.federation_data import load
from bench.federation_runs import BASELINES, Outcome, Setting, run

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "federation.json"
LITE = ("local-only", "pooled", "fedavg")
EVERYTHING = (*BASELINES, "fedavg", "fedprox", "fedbn", "fedsm", "fedsca", "pfedsam", "gcml")

Row = dict[str, Any]


def main() -> int:
    options = _options()
    if not (options.data / "split.csv").is_file():
        print(f"no split.csv in {options.data}: name the images with --data", file=sys.stderr)
        return 2
    methods = EVERYTHING if options.full else options.methods.split(",")
    seeds = (0, 1, 2) if options.full else [int(seed) for seed in options.seeds.split(",")]
    sites = load(options.data)
    rows = read(RESULTS)
    for seed in seeds:
        for method in methods:
            setting = Setting(options.model, options.rounds, options.steps, seed)
            if done(rows, options.data.name, options.model, method, seed):
                print(f"{method}, seed {seed}: stands in {RESULTS.name}")
                continue
            began = time.perf_counter()
            outcome = run(method, sites, setting)
            rows += rows_of(options.data.name, method, setting, outcome)
            write(RESULTS, rows)
            print(f"{method}, seed {seed}: {time.perf_counter() - began:.0f} s")
    print(table(rows, options.data.name, options.model))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--model", choices=["unet", "sam"], default="unet")
    parser.add_argument("--methods", default=",".join(LITE))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30, help="gradient steps of a site in a round")
    parser.add_argument("--full", action="store_true", help="every method, seeds 0 to 2")
    return parser.parse_args()


def read(path: Path) -> list[Row]:
    """The rows so far; none without the file."""
    return list(json.loads(path.read_text())) if path.is_file() else []


def write(path: Path, rows: Sequence[Row]) -> None:
    """Replace the results; an interruption leaves the old ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    os.replace(temporary, path)


def done(rows: Sequence[Row], dataset: str, model: str, method: str, seed: int) -> bool:
    """Whether a step was finished before."""
    key = (dataset, model, method, seed)
    return any((row["dataset"], row["model"], row["method"], row["seed"]) == key for row in rows)


def rows_of(dataset: str, method: str, setting: Setting, outcome: Outcome) -> list[Row]:
    """One row per score of an outcome."""
    return [
        {
            "dataset": dataset,
            "model": setting.model,
            "method": name,
            "seed": setting.seed,
            "site": site,
            "part": part,
            "dice": round(dice, 4),
            "bytes_up": outcome.bytes_up.get(site, 0),
            "bytes_down": outcome.bytes_down.get(site, 0),
            "seconds": round(outcome.seconds, 1),
            "steps": outcome.steps.get(site, 0),
        }
        for (name, site, part), dice in sorted(outcome.dice.items())
    ]


def table(rows: Sequence[Row], dataset: str, model: str) -> str:
    """Mean over seeds of what serves, per method and site, with mean and worst site."""
    chosen = [r for r in rows if (r["dataset"], r["model"], r["part"]) == (dataset, model, "test")]
    sites = sorted({row["site"] for row in chosen})
    lines = ["| method | " + " | ".join(sites) + " | mean | worst |", "|---" * (len(sites) + 3) + "|"]
    for method in dict.fromkeys(row["method"] for row in chosen):
        by_site = [fmean(r["dice"] for r in chosen if (r["method"], r["site"]) == (method, site)) for site in sites]
        shown = [f"{value:.3f}" for value in (*by_site, fmean(by_site), min(by_site))]
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
