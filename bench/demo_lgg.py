"""The whole product on real brain MRI of four hospitals; the report goes to bench/results/.

    make bench                                   U-Net, seed 0
    make bench ARGS="--model sam --seed 1"

Needs a folder with <site>/images, <site>/labels and split.csv; see bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lgg-5site"))
    parser.add_argument("--sites", default="CS,DU,FG,HT")
    parser.add_argument("--model", choices=["unet", "sam"], default="unet")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no folder {options.data}: name the images with --data", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fedseg-bench-") as folder:
        out = Path(folder) / "out"
        command = ["demo", "--data", options.data, "--sites", options.sites, "--model", options.model]
        command += ["--seed", options.seed, "--out", out]
        command += ["--rounds", options.rounds] if options.rounds else []
        arguments = [str(part) for part in command]
        subprocess.run([sys.executable, "-m", "fed_backend", *arguments], check=True)
        report = json.loads((out / "report.json").read_text())
    shown = " ".join(part if part != str(out) else "OUT" for part in arguments)
    write_results(report, f"fedseg {shown}")
    return 0


def write_results(report: dict[str, Any], command: str) -> None:
    name = f"demo-lgg-{report['model']}-seed{report['seed']}"
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"command": command, "machine": machine, **report}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(table(report, command, machine))
    print(f"written: bench/results/{name}.json and .md")


def table(report: dict[str, Any], command: str, machine: dict[str, Any]) -> str:
    lines = [
        f"# {report['model']} on real glioma MRI of {len(report['sites'])} hospitals, seed {report['seed']}",
        "",
        f"`{command}` on {machine['cores']} cores ({machine['machine']}), {report['seconds_total']:.0f} s in total.",
        "Dice on test cases that no training and no gate saw, volumetric, mean over cases.",
        "",
        "| site | test cases | before | after local learning | after federation | worst case | promoted | refused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for site in report["sites"]:
        dice = " | ".join(f"{site[key]:.3f}" for key in ("dice_before", "dice_local", "dice_federated", "worst_case"))
        lines.append(f"| {site['name']} | {site['cases']} | {dice} | {site['promoted']} | {site['refused']} |")
    lines += [
        "",
        f"Best global threshold, chosen on training cases: Dice {report['threshold_baseline']:.3f}.",
        "",
        "| round | seconds | KB up | KB down | Dice on validation cases of each site |",
        "|---|---|---|---|---|",
    ]
    for entry in report["rounds"]:
        dice = ", ".join(f"{site} {value:.3f}" for site, value in sorted(entry["dice"].items()) if value is not None)
        sizes = f"{entry['bytes_up'] / 1000:.0f} | {entry['bytes_down'] / 1000:.0f}"
        lines.append(f"| {entry['round']} | {entry['seconds']:.1f} | {sizes} | {dice} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
