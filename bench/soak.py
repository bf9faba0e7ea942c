"""Rounds of a federation of three sites while its processes are killed at random, and what must hold afterwards.

    make soak                                  100 rounds; writes bench/results/soak.json and .md
    make soak ARGS="--rounds 20 --seed 7"

After every ``--part`` rounds there is a calm, what must hold is checked and the result is written, so that an
interruption loses no more than a part. What is killed, and how, is in tests/fed_backend/faults/soak.py; a few rounds
of it are a test.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "soak.json"
WORDS = {"hub": "hub", "hub job": "the hub's job", "courier": "couriers", "peer": "sites"}


def table(found: dict[str, Any]) -> str:
    """The result as Markdown."""
    kinds = Counter(kill["target"].partition("-")[0] for kill in found["kills"])
    lines = ["# Rounds under fire", "", "`make soak`. Two light sites and a real one (U-Net, 32 px, two steps)."]
    lines += ["", "Every part ends with a round in which nothing is killed; it is among the rounds."]
    if found["counts"]["rounds"] < found["rounds_wanted"]:
        lines += ["", f"Interrupted: {found['rounds_wanted']} rounds were wanted."]
    lines += ["", "| | |", "|---|---|", f"| seed | {found['seed']} |"]
    lines += [f"| seconds under fire | {found['seconds_under_fire']:.0f} |"]
    lines += [f"| kill -9 | {len(found['kills'])}: " + ", ".join(f"{WORDS[k]} {n}" for k, n in kinds.items()) + " |"]
    lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in found["counts"].items()]
    lines += ["", "| what must hold | |", "|---|---|"]
    lines += [f"| {name} | {'yes' if held else 'NO'} |" for name, held in found["proved"].items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=4, help="rounds between two kills at most")
    parser.add_argument("--part", type=int, default=20, help="rounds between two checks")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "fed_backend" / "faults"))
    import conftest  # noqa: F401  # where the helpers are
    from soak import Soak

    held = False
    with tempfile.TemporaryDirectory(prefix="fedseg-soak-") as folder:
        say = partial(print, flush=True)
        with Soak(Path(folder), options.rounds, options.seed, options.every, options.part, say) as soak:
            for found in soak.run():
                held = all(found["proved"].values())
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
                RESULTS.with_suffix(".md").write_text(table(found))
                say(table(found))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
