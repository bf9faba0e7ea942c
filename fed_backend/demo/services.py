"""Which processes make up the demonstration, and with which arguments.

Order: plan, kits with certificates, then hub, sites and couriers. The sites are started with the
training and validation images only; test images are put into their studies folders later.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fed_backend.demo.dataset import LABELS, Case, SiteData
from fed_backend.demo.processes import ManagedProcess, ProcessGroup

__all__ = ["RunningSite", "Training", "add_images", "create_plan", "environment", "provision", "start_all"]

READY_S = 240.0
PARTS = {"train": "train", "val": "validation"}


@dataclass(frozen=True)
class Training:
    """How much is trained.

    Attributes:
        local_steps: gradient steps of local learning.
        round_steps: gradient steps of a site in one federated round.
        image_size: side of the slices that the network sees, pixels.
        batch_size: slices a step.
        learning_rate: AdamW learning rate.
    """

    local_steps: int
    round_steps: int
    image_size: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class RunningSite:
    """Where a site answers, and the files that it and its courier share."""

    name: str
    url: str
    token_file: Path


def environment() -> dict[str, str]:
    """Variables of every process: one thread each, because many of them share the cores."""
    return {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def add_images(cases: Sequence[Case], studies: Path) -> None:
    """Put images (never labels) into a site's studies folder."""
    studies.mkdir(parents=True, exist_ok=True)
    for case in cases:
        shutil.copyfile(case.image, studies / case.image.name)


def write_split(data: SiteData, path: Path) -> None:
    """Split file for a site's server: its training and validation cases, nothing of the test cases."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("site", "case", "part"))
        writer.writerows((data.name, case.name, PARTS[case.part]) for case in data.part(*PARTS))


def create_plan(group: ProcessGroup, out: Path, *, model: str, training: Training, rounds: int, seed: int) -> Path:
    """Write the federation's plan and return its path."""
    plan = out / "plan.json"
    labels = ",".join(f"{name}={value}" for name, value in LABELS.items())
    options = {
        "name": "demo",
        "model": model,
        "labels": labels,
        "rounds": rounds,
        "steps": training.round_steps,
        "learning-rate": training.learning_rate,
        "batch-size": training.batch_size,
        "image-size": training.image_size,
        "seed": seed,
        "out": plan,
    }
    group.command("plan", ["-m", "monailabel_app", "plan", "create", *_options(options)], timeout=READY_S)
    return plan


def provision(group: ProcessGroup, out: Path, plan: Path, sites: Sequence[str]) -> Path:
    """Make certificates and kits for the hub and every site; the folder that holds them."""
    kits = out / "federation"
    chosen = [part for name in sites for part in ("--site", name)]
    group.command(
        "provision", ["-m", "fed_backend", "provision", "--plan", str(plan), *chosen, "--out", str(kits)], READY_S
    )
    return kits


def start_all(
    group: ProcessGroup,
    out: Path,
    plan: Path,
    kits: Path,
    data: Sequence[SiteData],
    model: str,
    report: Callable[[str, str], None],
) -> list[RunningSite]:
    """Start hub, sites and couriers and wait until all are ready.

    Args:
        report: called with (site, what it is doing).
    """
    hub = group.server("hub", ["-m", "fed_backend", "hub", "start", str(kits / "hub")])
    servers = [_start_site(group, out, plan, site, model, together=index > 0) for index, site in enumerate(data)]
    for site in data:
        report(site.name, "site server starts")
    running, couriers = [], []
    for index, (site, server) in enumerate(zip(data, servers, strict=True)):
        content = server.wait_ready(READY_S, group.check)
        where = RunningSite(site.name, str(content["url"]), Path(content["token_file"]))
        running.append(where)
        couriers.append(_start_courier(group, kits, where, together=index > 0))
        report(site.name, "site server is up, courier connects")
    for where, courier in zip(running, couriers, strict=True):
        courier.wait_ready(READY_S, group.check)
        report(where.name, "connected to the hub")
    hub.wait_ready(READY_S, group.check)
    return running


def _start_site(
    group: ProcessGroup, out: Path, plan: Path, data: SiteData, model: str, *, together: bool
) -> ManagedProcess:
    home = out / "sites" / data.name
    add_images(data.part(*PARTS), home / "studies")
    write_split(data, home / "split.csv")
    options = {
        "studies": home / "studies",
        "state": home / "state",
        "name": data.name,
        "plan": plan,
        "split": home / "split.csv",
        "port": 0,
    }
    models = [part for name in dict.fromkeys((model, "sam")) for part in ("--model", name)]
    arguments = ["-m", "monailabel_app", "site", "start", *_options(options), *models]
    return group.server(f"site {data.name}", arguments, together=together)


def _start_courier(group: ProcessGroup, kits: Path, site: RunningSite, *, together: bool) -> ManagedProcess:
    options = {"site-url": site.url, "token-file": site.token_file}
    kit = str(kits / "sites" / site.name)
    arguments = ["-m", "fed_backend", "courier", "start", kit, *_options(options)]
    return group.server(f"courier {site.name}", arguments, together=together)


def _options(options: dict[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]
