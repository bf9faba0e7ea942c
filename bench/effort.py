"""How many clicks a mask takes: without an adapter, after 1 to 7 corrected cases, and without a network.

    make bench-effort                     a few minutes
    make bench-effort ARGS="--full"       more cases, all sites, longer training

A simulated annotator clicks in the middle of the largest error of a slice (NoC) until Dice is 0.90
or 20 clicks are spent. Needs a folder with nuclei-dsb2018, hippocampus-msd and lgg-5site; cases that
the embedded base was trained on are left out. Writes bench/results/effort.json and effort.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.baselines import GrowCut, RegionGrowing
from bench.effort_clicks import Served, plain_clicks, session_clicks, summary
from bench.effort_data import Case, Site, Target, sites, slices_source
from bench.effort_table import table
from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.inference.embeddings.snapshot import take_snapshot
from monailabel_app.learning import base_sources
from monailabel_app.learning.base_check import Answers, Base, FilledBox, measure
from monailabel_app.learning.base_training import untrained
from monailabel_app.learning.finetune import finetune
from monailabel_app.models.device import fastest_numeric
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.models.sam import SamSegmenter
from monailabel_app.models.sam_build import load_base

RESULTS = Path(__file__).resolve().parent / "results"
CORRECTED = (1, 2, 4, 7)
BATCH = 4
Tasks = Sequence[tuple[Case, Target]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--steps", type=int, help="of each training  [default: 40, with --full 100]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.data / "lgg-5site").is_dir():
        print(f"no folder {options.data / 'lgg-5site'}: name the images with --data", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    started = time.monotonic()
    steps = options.steps or (100 if options.full else 40)
    found: dict[str, Any] = {"full": options.full, "seed": options.seed, "steps": steps, "torch": torch.__version__}
    places = sites(options.data, full=options.full)
    found["base"] = base(options.data, places, pictures=60 if options.full else 12)
    found["effort"] = {site.name: effort(site, steps, options.seed, 2 if options.full else 1) for site in places}
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "effort.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "effort.md").write_text(table(found))
    print(table(found))
    return 0


def base(data: Path, places: Sequence[Site], *, pictures: int) -> dict[str, dict[str, dict[str, float]]]:
    """Source -> method -> mean IoU after 1, 3, 5 clicks and a box, on pictures that were not trained on."""
    answering: dict[str, Answers] = {
        "sam_tiny": Base(load_base("sam_tiny", 256, None)[0]),
        "untrained": Base(untrained(0).eval()),
        "GrowCut": GrowCut(),
        "region growing": RegionGrowing(),
        "filled box": FilledBox(),
    }
    sources = {name: source for name, (_, source) in base_sources.sources(data, held_out=True).items()}
    unseen = [(site, case) for site in places if site.name.startswith("lgg") for case in site.corrected + site.measured]
    sources["lgg-5site"] = slices_source(unseen)
    found = {}
    for name, source in sources.items():
        found[name] = measure(answering, source, pictures=pictures, seed=1)
        _say(f"{name}: {found[name]['sam_tiny']}")
    return found


def effort(site: Site, steps: int, seed: int, per_label: int) -> dict[str, dict[str, float]]:
    """Way of working -> clicks to each goal and failures, on the cases of a site that it did not correct."""
    tasks = [(case, target) for case in site.measured for target in site.targets(case, per_label)]
    found = {
        name: summary([plain_clicks(one, site.schema, case, target) for case, target in tasks])
        for name, one in (("region growing", RegionGrowing()), ("GrowCut", GrowCut()))
    }
    segmenter = build_segmenter(default_spec("sam"), site.schema)
    assert isinstance(segmenter, SamSegmenter)
    start = segmenter.adapter()
    found["no adapter"] = _clicks(segmenter, start, site, tasks)
    training = TrainingSpec(steps=steps, batch_size=BATCH, seed=seed)
    segmenter.load_adapter(start)
    for count in CORRECTED:  # each training goes on from the one before, as the site's learner does
        cases = [(case.volume, case.labels) for case in site.corrected[:count]]
        adapter = finetune(segmenter, cases, training, seed=seed).tensors
        found[f"after {count} corrected"] = _clicks(segmenter, adapter, site, tasks)
        _say(f"{site.name} after {count}: {found[f'after {count} corrected']}")
    found[f"automatic first, after {CORRECTED[-1]}"] = _clicks(segmenter, adapter, site, tasks, automatic=True)
    return found


def _clicks(
    segmenter: SamSegmenter, adapter: Tensors, site: Site, tasks: Tasks, *, automatic: bool = False
) -> dict[str, float]:
    model = Served(take_snapshot(segmenter, "v0", adapter, numeric=fastest_numeric()))
    masks = {id(case): segmenter.segment(case.volume) for case in site.measured} if automatic else {}
    return summary([session_clicks(model, site.schema, case, target, masks.get(id(case))) for case, target in tasks])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
