"""How often the gate lets a worse, an equal and a better version pass, by number of cases.

    make bench-gate          seconds; writes bench/results/gate.md and .json

Simulated sites: the champion's Dice on a case is 0.4 to 0.8, the challenger's differs by a normal
change around the stated truth. Every rate is over the given number of sites.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from monailabel_app.learning.gate import GateRule, Pair, decide

RESULTS = Path(__file__).resolve().parent / "results"
CASES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40)
TRUTHS = (-0.10, -0.05, -0.03, -0.01, 0.0, 0.02, 0.05, 0.10)
SPREADS = (0.05, 0.10)
SITES = 1000


def rate(count: int, truth: float, spread: float, rule: GateRule, seed: int) -> float:
    """Share of ``SITES`` sites at which the challenger is promoted."""
    rng = np.random.default_rng(seed)
    promoted = 0
    for _ in range(SITES):
        before = rng.uniform(0.4, 0.8, count)
        after = before + rng.normal(truth, spread, count)
        names = [f"case{n}" for n in range(count)]
        pair = Pair(*({n: {"label": float(d)} for n, d in zip(names, side, strict=True)} for side in (before, after)))
        promoted += decide(pair, rule).promoted
    return promoted / SITES


def main() -> int:
    rule = GateRule()
    rates = [
        {"cases": count, "truth": truth, "spread": spread, "promoted": rate(count, truth, spread, rule, index)}
        for index, (spread, count, truth) in enumerate((s, c, t) for s in SPREADS for c in CASES for t in TRUTHS)
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"rule": vars(rule), "sites": SITES, "rates": rates}
    (RESULTS / "gate.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "gate.md").write_text(table(rates, rule), encoding="utf-8")
    print((RESULTS / "gate.md").read_text(encoding="utf-8"))
    return 0


def table(rates: list[dict[str, float]], rule: GateRule) -> str:
    lines = [
        "# How often the gate promotes",
        "",
        f"{SITES} simulated sites per figure; margin {rule.margin}, confidence {rule.confidence:.0%}, one label;",
        "a normal change of Dice per case around the truth in the head, with the stated deviation. `make bench-gate`.",
    ]
    for spread in SPREADS:
        lines += ["", f"Standard deviation of the change between cases {spread}:", ""]
        lines += ["| cases | " + " | ".join(f"{truth:+.2f}" for truth in TRUTHS) + " |", "|---|" + "---|" * len(TRUTHS)]
        for count in CASES:
            row = [r["promoted"] for r in rates if r["cases"] == count and r["spread"] == spread]
            lines.append(f"| {count} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
