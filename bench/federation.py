"""Federated methods on real images of several hospitals, at equal gradient steps.

    make bench-federation                                          every method on glioma MRI, seed 0
    make bench-federation ARGS="--methods fedsm,fedsca --seeds 0,1,2"
    make bench-federation ARGS="--data ../shared/data/nuclei-dsb2018"
    make bench-federation ARGS=--full                              every method and ablation, three seeds; hours

Finished (method, seed) pairs stand in bench/results/federation.json and are not computed again, so an
interrupted run goes on where it was, and several may run at once. A row is {dataset, model, method, seed,
site, part, dice, bytes_up, bytes_down, seconds, steps, precision}; dice is volumetric, the mean over the cases of a
part:

- ``test``: what the site's gate let serve, on the site's own test cases;
- ``test-offered``: what was last offered, whether or not it serves;
- ``val``: what serves, on the validation cases that chose it, and in ``cases`` on each of them;
- ``unseen``: a model common to all sites, on cases of a site that never trains;
- ``left-out``: the same, trained without a site and measured there.

Of FedSM, ``fedsm`` is the routed answer; ``fedsm-personal`` and ``fedsm-global`` are its two models alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from bench.federation_data import LABELS, load
from bench.federation_rows import Setting, add, done, read, rows_of
from bench.federation_runs import BASELINES, COMMON, leave_out, run
from bench.federation_sites import ENCODINGS, VARIANTS
from bench.federation_table import write_results
from bench.precision import PRECISIONS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "federation.json"
METHODS = (*BASELINES, "fedavg", "fedprox", "fedbn", "fedsm", "fedsca", "pfedsam", "gcml")
ABLATIONS = tuple(dict.fromkeys((*VARIANTS, *ENCODINGS)))
LEFT_OUT = tuple(f"left-out:{name}" for name in ("pooled", *COMMON))


def main() -> int:
    options = _options()
    if options.data.name not in LABELS or not options.data.is_dir():
        print(f"no folder {options.data} of {' or '.join(LABELS)}: name the images with --data", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    methods = (*METHODS, *ABLATIONS, *LEFT_OUT) if options.full else options.methods.split(",")
    seeds = (0, 1, 2) if options.full else [int(seed) for seed in options.seeds.split(",")]
    sites = load(options.data)
    for seed in seeds:
        setting = Setting(options.data.name, options.model, options.rounds, options.steps, seed, options.precision)
        for name in methods:
            part, _, method = name.rpartition(":")
            if done(read(RESULTS), setting, method, part or "test"):
                print(f"{name}, seed {seed}: stands in {RESULTS.name}")
                continue
            began = time.perf_counter()
            outcome = leave_out(method, sites, setting) if part else run(method, sites, setting)
            rows = add(RESULTS, rows_of(setting, outcome))
            write_results(rows, ROOT)
            print(f"{setting.dataset}, {name}, seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--model", choices=["unet", "sam"], default="unet")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"further ones: {', '.join(ABLATIONS + LEFT_OUT)}")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30, help="gradient steps of a site in a round")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="bfloat16 is faster on some CPUs")
    parser.add_argument("--full", action="store_true", help="every method, its ablations, seeds 0 to 2")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
