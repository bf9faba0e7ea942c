"""From a submission to the adapter that serves, at a real site with real patients; and clicks meanwhile.

    make bench-live                          minutes; adds to bench/results/learning.json and .md

A site with the patients of one hospital of `lgg-5site`: validation patients and three others are corrected and
learned once, so that there is a champion that was trained. Then a fourth patient is corrected, and the clock runs
from the submission until the gate has decided and the version serves. Meanwhile an annotator goes on clicking
on another patient; the same clicks were timed before on the idle site.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import requests

from bench.interactive_site import Annotator, SiteProcess
from bench.learning_table import write_table

RESULTS = Path(__file__).resolve().parent / "results" / "learning.json"
MODELS = {"unet": "unet", "sam": "sam_tiny"}
BEFORE, CLICKS = 3, 60
Figures = dict[str, Any]


class Hospital:
    """A running site and the true masks of its patients.

    Args:
        data: the data set.
        name: one of its sites.
        folder: for state and log.
    """

    def __init__(self, data: Path, name: str, folder: Path) -> None:
        rows = [line.split(",") for line in (data / "split.csv").read_text().split()[1:]]
        self.cases = {part: [case for site, case, p in rows if (site, p) == (name, part)] for part in ("train", "val")}
        split = folder / "split.csv"
        parts = {"train": "train", "val": "validation"}
        split.write_text(
            "case,part\n" + "".join(f"{case},{parts[part]}\n" for part in parts for case in self.cases[part])
        )
        self._labels = data / name / "labels"
        options = ("--model", "unet", "--split", str(split))
        self.site = SiteProcess(folder / name, data / name / "images", *options)

    def submit(self, case: str) -> None:
        """Correct a case: the true mask."""
        (mask,) = self._labels.glob(f"{case}.*")
        with mask.open("rb") as file:
            query = {"image": case, "tag": "final"}
            reply = requests.put(f"{self.site.url}/datastore/label", params=query, files={"label": file}, timeout=300)
        reply.raise_for_status()

    def learn(self, model: str) -> Iterator[Figures]:
        """Learn; yields the state several times a second until the gate has decided."""
        reply = requests.post(f"{self.site.url}/learning", json={"model": model}, timeout=60)
        reply.raise_for_status()
        while True:
            state: Figures = requests.get(f"{self.site.url}/learning", timeout=60).json()
            if state["job"] == reply.json()["job"]:
                yield state
                if state["state"] in ("done", "failed", "cancelled"):
                    return
            time.sleep(0.25)


def live(hospital: Hospital, model: str) -> Figures:
    """Seconds from the submission of one more patient until the new version was judged, by phase."""
    champion, *_ = [state["result"] for state in hospital.learn(model) if state["result"]]
    annotator = Annotator(hospital.site, hospital.cases["train"][-1], (100, 100))
    annotator.click(20)  # cold
    idle = [annotator.click(20)[0] for _ in range(CLICKS)]
    began = at = time.perf_counter()
    hospital.submit(hospital.cases["train"][BEFORE])
    phases, clicks, result = {"submit": time.perf_counter() - began}, [], {}
    for state in hospital.learn(model):
        clicks.append(annotator.click(20)[0])
        now = time.perf_counter()
        phase = state["message"].split(" on ")[0] if state["state"] in ("training", "gating") else state["state"]
        phases[phase] = phases.get(phase, 0.0) + now - at
        at, result = now, state["result"] or result
    annotator.close()
    return {
        "seconds": round(at - began, 1),
        "phases": {name: round(seconds, 1) for name, seconds in phases.items()},
        "first_promoted": champion["promoted"],
        "promoted": result["promoted"],
        "reason": result["reason"],
        "clicks": len(clicks),
        "click_idle_ms": round(1e3 * median(idle), 1),
        "click_learning_ms": round(1e3 * median(clicks), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--site", default="CS")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no folder {options.data}: name the images with --data", file=sys.stderr)
        return 2
    found = {}
    for model, base in MODELS.items():
        with tempfile.TemporaryDirectory(prefix="fedseg-live-") as folder:
            hospital = Hospital(options.data, options.site, Path(folder))
            try:
                for case in hospital.cases["val"] + hospital.cases["train"][:BEFORE]:
                    hospital.submit(case)
                found[base] = live(hospital, model)
            finally:
                hospital.site.stop()
        print(json.dumps({base: found[base]}), flush=True)
    record = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"curve": []}
    record["live"] = found
    record["seconds_submit_to_live"] = {model: row["seconds"] for model, row in found.items()}
    record["click_slowdown"] = max(round(r["click_learning_ms"] / r["click_idle_ms"], 2) for r in found.values())
    write_table(record, RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
