"""What a federation costs beside the training: time, bytes and memory of rounds and of exchanges between peers.

    make bench-rounds                                         a quarter of an hour
    make bench-rounds ARGS="--parts overhead,gossip"          some of it
    make bench-rounds ARGS="--parts wire --again"             measure anew what stands in the results

Hub and couriers are real processes with mutual TLS on loopback; the sites train in no time. Pairs are measured one
after the other in one run. Finished cells stand in bench/results/rounds.json and are not measured again, so an
interrupted run goes on where it was. Of the keys, those that end in ``_ms``, ``_seconds``, ``_mb`` or ``_ratio`` are
tables: payload in MB -> number of sites (or the way of an exchange) -> figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.figures import machine, rounded
from bench.rounds_cells import cost_cell, round_cell, secure_cell, wire_cell
from bench.rounds_gossip import exchange_cell
from bench.rounds_table import collect, table

RESULTS = Path(__file__).resolve().parent / "results"
PARTS = ("overhead", "memory", "wire", "gossip", "cost", "secure")
Cell = Callable[[Path], dict[str, Any]]


def cells(part: str, smallest: bool) -> dict[str, Cell]:
    """The cells of a part, by ``part/payload/sites``."""
    if smallest:
        return {
            "overhead": {"overhead/0.6/2": partial(_rounds, 0.6, 2, 1, 1, True)},
            "memory": {"memory/60/2": partial(_rounds, 60.0, 2, 1, 1, False)},
            "wire": {"wire/0.6/2": partial(_wire, 0.6, 2, 1)},
            "gossip": {"gossip/0.6/direct": partial(_exchange, 0.6, False, 2)},
            "cost": {"cost/0.6/int8": partial(_cost, 0.6, "int8")},
            "secure": {"secure/0.6/3": partial(_secure, 0.6, 3, 1)},
        }[part]
    every: dict[str, dict[str, Cell]] = {
        "overhead": {
            **{f"overhead/0.6/{n}": partial(_rounds, 0.6, n, 5, 3, True) for n in (3, 8, 16)},
            **{f"overhead/60/{n}": partial(_rounds, 60.0, n, 3, 1, True) for n in (3, 8)},
        },
        "memory": {
            "memory/60/16": partial(_rounds, 60.0, 16, 1, 1, False),
            **{f"memory/400/{n}": partial(_rounds, 400.0, n, 1, 1, False) for n in (3, 8)},
        },
        "wire": {
            "wire/0.6/3": partial(_wire, 0.6, 3, 10),
            "wire/0.6/16": partial(_wire, 0.6, 16, 10),
            "wire/60/3": partial(_wire, 60.0, 3, 3),
        },
        "gossip": {
            f"gossip/{mb:g}/{way}": partial(_exchange, mb, way == "relayed", 9)
            for mb in (0.6, 60.0)
            for way in ("direct", "relayed")
        },
        "cost": {f"cost/60/{name}": partial(_cost, 60.0, name) for name in ("float32", "float16", "int8", "privacy")},
        "secure": {"secure/0.6/3": partial(_secure, 0.6, 3, 8), "secure/0.6/8": partial(_secure, 0.6, 8, 8)},
    }
    return every[part]


def _rounds(megabytes: float, sites: int, rounds: int, runs: int, bare: bool, folder: Path) -> dict[str, Any]:
    return round_cell(folder, megabytes, sites, rounds, runs, bare=bare)


def _wire(megabytes: float, sites: int, rounds: int, folder: Path) -> dict[str, Any]:
    return wire_cell(folder, megabytes, sites, rounds)


def _exchange(megabytes: float, relayed: bool, count: int, folder: Path) -> dict[str, Any]:
    return exchange_cell(folder, megabytes, relayed, count)


def _cost(megabytes: float, name: str, folder: Path) -> dict[str, Any]:
    return cost_cell(folder, megabytes, name)


def _secure(megabytes: float, sites: int, rounds: int, folder: Path) -> dict[str, Any]:
    return secure_cell(folder, megabytes, sites, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--again", action="store_true", help="also what stands in the results")
    parser.add_argument("--smallest", action="store_true", help="one small cell of each part")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    path = options.out / "rounds.json"
    found = json.loads(path.read_text())["cells"] if path.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="fedseg-rounds-") as scratch:
        for part in options.parts.split(","):
            for name, cell in cells(part, options.smallest).items():
                if name in found and not options.again:
                    print(f"{name}: stands in {path.name}")
                    continue
                began = time.perf_counter()
                found[name] = {**cell(Path(scratch) / name.replace("/", "-")), "load": round(os.getloadavg()[0], 1)}
                print(f"{name}: {json.dumps(found[name])} ({time.perf_counter() - began:.0f} s)", flush=True)
                _write(path, found)
    print(table(collect(found)))
    return 0


def _write(path: Path, found: dict[str, dict[str, Any]]) -> None:
    tables = collect(found)
    temporary = path.with_suffix(".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps({"machine": machine(), **tables, "cells": rounded(found)}, indent=1) + "\n")
    os.replace(temporary, path)
    path.with_suffix(".md").write_text(table(tables))


if __name__ == "__main__":
    sys.exit(main())
