"""The federation benchmark's tables and plots, from its rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean

from bench.federation_plot import draw
from bench.federation_rows import Row
from monailabel_app.learning.gate import Pair, Scores, decide

__all__ = ["NAMES", "Table", "kept", "table", "write_results"]

NAMES = {
    "local-only": "every site alone",
    "pooled": "all data in one place",
    "ensemble": "ensemble of the sites",
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "fedbn": "FedBN",
    "fedsm": "FedSM, routed",
    "fedsm-personal": "FedSM, personal model (oracle)",
    "fedsm-global": "FedSM, global model",
    "fedsca": "FedSCA",
    "pfedsam": "pFedSAM",
    "gcml": "GCML",
}
ABLATIONS = {
    "gcml-alone": "GCML, weight 0: training alone and merging",
    "gcml-beta0": "GCML, beta 0: no push away from a wrong teacher",
    "fedsca-none": "FedSCA, no block travels",
    "fedsca-quarter": "FedSCA, a quarter of the blocks",
    "fedsca-most": "FedSCA, three quarters of the blocks",
    "fedsca-all": "FedSCA, all blocks",
    "pfedsam-reverse": "pFedSAM, KL the other way",
    "pfedsam-mu0": "pFedSAM, no teacher",
    "fedavg-float16": "FedAvg, float16",
    "fedavg-int8": "FedAvg, int8",
}
TOLERANCE = 0.01
Cell = tuple[str, int]


def write_results(rows: Sequence[Row], root: Path) -> None:
    """Write all tables beside the rows, the plots, and the tables that ``docs/results.md`` has a place for."""
    parts = [
        "# Federated methods at equal gradient steps",
        "",
        "From `make bench-federation`; see docs/results.md.",
        "",
    ]
    page = root / "docs" / "results.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    for dataset, model in sorted({(row["dataset"], row["model"]) for row in rows}):
        here = comparable([row for row in rows if (row["dataset"], row["model"]) == (dataset, model)])
        shown = [*table(here), *table_of_joining(here), *table_of_ablations(here)]
        parts += [f"## {dataset}, {model}", "", *shown, ""]
        place = f"<!-- {dataset} {model} -->"
        text = re.sub(
            f"{place}.*?<!-- end -->",
            lambda _, p=place, s=shown: "\n".join([p, "", *s, "", "<!-- end -->"]),
            text,
            flags=re.S,
        )
        tested = {row["method"] for row in here if row["part"] == "test"}
        names = {name: shown_as for name, shown_as in NAMES.items() if name in tested}
        draw(here, names, root / "docs" / "images" / f"federation-{dataset}-{model}.png", f"{dataset}, {model}")
    (root / "bench" / "results" / "federation.md").write_text("\n".join(parts), encoding="utf-8")
    if text:
        page.write_text(text, encoding="utf-8")


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Rows of the seeds that every method has, so that all means are of the same cells; all where none is common."""
    seeds: dict[str, set[int]] = {}
    for row in rows:
        if row["method"] in NAMES and row["part"] == "test":
            seeds.setdefault(row["method"], set()).add(row["seed"])
    common = set.intersection(*seeds.values()) if seeds else set()
    return [row for row in rows if row["seed"] in common] or list(rows)


def table(rows: Sequence[Row]) -> list[str]:
    """One line per method of one data set and model; rows of all seeds."""
    scores = Table(rows)
    sites = scores.sites
    unseen, left = (any(row["part"] == part for row in rows) for part in ("unseen", "left-out"))
    heads = [*sites, "mean", "worst", *(["unseen"] if unseen else []), *(["left out"] if left else [])]
    heads += ["below alone", "joined", "joined, below", "MB/site", "MB", "s", "seeds"]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" + "|---:" * len(heads) + "|"]
    for method, name in NAMES.items():
        found = scores.of(method)
        if not found:
            continue
        by_site = [fmean(dice for (at, _), dice in found.items() if at == site) for site in sites]
        shown = [f"{value:.3f}" for value in (*by_site, fmean(by_site), min(by_site))]
        seeds = {seed for _, seed in found}
        parts = [part for part, given in (("unseen", unseen), ("left-out", left)) if given]
        shown += [_mean(scores.of(method, part), seeds) for part in parts]
        lines.append(f"| {name} | " + " | ".join([*shown, *scores.against_alone(method), *scores.costs(method)]) + " |")
    return lines


def table_of_joining(rows: Sequence[Row]) -> list[str]:
    """What joining changes at each site that learned alone: mean over seeds, worst seed in brackets; or no table."""
    scores = Table(rows)
    alone = scores.of("local-only")
    head = ["once joined, against alone", *scores.sites, "mean"]
    lines = ["", "| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for method, name in NAMES.items():
        joined = kept(scores, method) if method != "local-only" else {}
        if not joined:
            continue
        changes = [
            [dice - alone[site, seed] for (site, seed), dice in joined.items() if site == at] for at in scores.sites
        ]
        shown = [f"{fmean(found):+.3f} ({min(found):+.3f})" for found in changes]
        lines.append(f"| {name} | " + " | ".join([*shown, f"{fmean(map(fmean, changes)):+.3f}"]) + " |")
    return lines if len(lines) > 3 else []


def table_of_ablations(rows: Sequence[Row]) -> list[str]:
    """Each ablation against the method as it is, at the same sites and seeds; nothing where none was run."""
    scores = Table(rows)
    lines = []
    for method, name in ABLATIONS.items():
        whole = method.partition("-")[0]
        found, plain = scores.of(method), scores.of(whole)
        common = found.keys() & plain.keys()
        if common:
            changes = [found[cell] - plain[cell] for cell in common]
            dice, seeds = fmean(found[cell] for cell in common), {seed for _, seed in common}
            lines.append(
                f"| {name} | {dice:.3f} | {fmean(changes):+.3f} | {min(changes):+.3f} | {max(changes):+.3f} "
                f"| {scores.sent(method, seeds):.1f} | {scores.sent(whole, seeds):.1f} | {len(seeds)} |"
            )
    head = ["ablation", "mean", "against the method as it is", "worst cell", "best", "MB/site", "as it is", "seeds"]
    return ["", "| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|", *lines] if lines else []


class Table:
    """Rows of one data set and model, by method and part.

    Args:
        rows: of all methods and seeds.

    Attributes:
        sites: those that train.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.sites = sorted({row["site"] for row in rows if row["part"] == "test"})

    def of(self, method: str, part: str = "test") -> dict[Cell, float]:
        """(site, seed) -> Dice."""
        return {
            (row["site"], row["seed"]): row["dice"]
            for row in self._rows
            if (row["method"], row["part"]) == (method, part)
        }

    def validated(self, method: str) -> dict[Cell, Scores]:
        """(site, seed) -> Dice of what serves on each validation case."""
        return {
            (row["site"], row["seed"]): {case: {"mean": dice} for case, dice in row["cases"].items()}
            for row in self._rows
            if (row["method"], row["part"]) == (method, "val") and "cases" in row
        }

    def against_alone(self, method: str) -> list[str]:
        """(site, seed) cells below the site's own model by more than the tolerance; once joined: mean, such cells."""
        alone, found = self.of("local-only"), self.of(method)
        common = found.keys() & alone.keys()
        if not common or method == "local-only":
            return ["", "", ""]
        joined = kept(self, method)
        once = [_mean(joined, {seed for _, seed in found}), _below(joined, alone)] if joined else ["", ""]
        return [_below(found, alone), *once]

    def sent(self, method: str, seeds: Collection[int]) -> float:
        """Megabytes up and down of a site, mean over sites and seeds."""
        mine = [row for row in self._rows if (row["method"], row["part"]) == (method, "test") and row["seed"] in seeds]
        return fmean(row["bytes_up"] + row["bytes_down"] for row in mine) / 1e6

    def costs(self, method: str) -> list[str]:
        """Megabytes per site and in all, seconds, number of seeds; means over seeds."""
        mine = [row for row in self._rows if row["method"] == method and row["part"] == "test"]
        seeds = {row["seed"] for row in mine}
        size = [(row["bytes_up"] + row["bytes_down"]) / 1e6 for row in mine]
        seconds = fmean({row["seed"]: row["seconds"] for row in mine}.values())
        sent = [f"{fmean(size):.1f}", f"{sum(size) / len(seeds):.0f}"] if any(size) else ["0", "0"]
        return [*sent, f"{seconds:.0f}", str(len(seeds))]


def kept(scores: Table, method: str) -> dict[Cell, float]:
    """What serves at a site that learned alone and then joins: a site's gate compares both, case by case."""
    alone, found = scores.of("local-only"), scores.of(method)
    before, after = scores.validated("local-only"), scores.validated(method)
    cells = alone.keys() & found.keys() & before.keys() & after.keys()
    return {
        cell: found[cell] if decide(Pair(before[cell], after[cell])).promoted else alone[cell] for cell in sorted(cells)
    }


def _below(found: dict[Cell, float], alone: dict[Cell, float]) -> str:
    common = found.keys() & alone.keys()
    return f"{sum(found[cell] < alone[cell] - TOLERANCE for cell in common)} of {len(common)}"


def _mean(found: dict[Cell, float], seeds: Collection[int]) -> str:
    """The mean, and of which seeds where it is not of all."""
    some = sorted({seed for _, seed in found})
    which = "" if len(some) == len(seeds) else f" (seed {', '.join(map(str, some))})"
    return f"{fmean(found.values()):.3f}{which}" if found else ""
