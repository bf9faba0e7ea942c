"""The whole demonstration, from data to report.

Stages: data, plan and certificates, servers, mutual TLS, annotation, local learning, federated
rounds, test, report. One process group holds everything that is started; leaving the run for any
reason stops it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from fed_backend.demo.annotator import annotate_site
from fed_backend.demo.client import SiteClient
from fed_backend.demo.dataset import SiteData, read_dataset
from fed_backend.demo.display import Display
from fed_backend.demo.errors import DatasetError
from fed_backend.demo.evaluation import Segmented, baseline_of, segment_cases, worst_overlay
from fed_backend.demo.generator import SCANNERS, write_dataset
from fed_backend.demo.parallel import in_parallel
from fed_backend.demo.processes import ProcessGroup
from fed_backend.demo.report import write_report
from fed_backend.demo.results import STAGES, Annotation, Overlay, RoundResult, RunResult, SiteResult
from fed_backend.demo.services import (
    RunningSite,
    Training,
    add_images,
    create_plan,
    environment,
    provision,
    start_all,
)
from fed_backend.flare.tls_check import mutual_tls_required

__all__ = ["DemoOptions", "run_demo"]

STAGE_TITLES = (
    "Data",
    "Plan and certificates",
    "Hub, sites, couriers",
    "Mutual TLS",
    "Annotation",
    "Local learning",
    "Federated rounds",
    "Test",
    "Report",
)

T = TypeVar("T")


@dataclass(frozen=True)
class DemoOptions:
    """What ``fedseg demo`` was asked for.

    Attributes:
        out: output folder; see :func:`fed_backend.demo.cli.prepare_output`.
        data: data folder; ``None`` generates volumes.
        sites: sites to use; empty means all.
        model: ``unet`` or ``sam``.
        rounds: federated rounds.
        seed: seed of the data, the model and the training.
        training: how much is trained.
        cases: generated cases per site.
    """

    out: Path
    data: Path | None
    sites: tuple[str, ...]
    model: str
    rounds: int
    seed: int
    training: Training
    cases: int = 12


class _Run:
    """State of one run; one method per stage."""

    def __init__(self, options: DemoOptions, group: ProcessGroup, display: Display) -> None:
        self.options = options
        self.group = group
        self.display = display
        self.data: list[SiteData] = []
        self.running: list[RunningSite] = []
        self.versions: dict[str, dict[str, str]] = {}
        self.train_seconds: dict[str, float] = {}

    def each_site(self, job: Callable[[SiteClient, SiteData], T]) -> dict[str, T]:
        """Run ``job`` for every site at once, each with a client of its own."""

        def bound(where: RunningSite, data: SiteData) -> Callable[[], T]:
            return lambda: job(SiteClient(where.name, where.url), data)

        pairs = zip(self.running, self.data, strict=True)
        return in_parallel({where.name: bound(where, data) for where, data in pairs}, self.group.check)

    def read_data(self) -> float:
        """Generate or read the volumes; the Dice of the best global threshold."""
        options, folder = self.options, self.options.data
        if folder is None:
            folder = options.out / "data"
            scanners = [scanner for scanner in SCANNERS if not options.sites or scanner.name in options.sites]
            report = self.display.site
            write_dataset(
                folder,
                seed=options.seed,
                scanners=scanners,
                cases=options.cases,
                progress=lambda site, done, total: report(site, f"{total} volumes", done / total),
            )
        self.data = read_dataset(folder, self.display.sites, seed=options.seed)
        baseline = baseline_of(self.data)
        count = sum(len(site.cases) for site in self.data)
        self.display.detail(f"{count} cases; a global threshold reaches Dice {baseline:.2f}")
        return baseline

    def make_plan(self) -> tuple[Path, Path]:
        options = self.options
        plan = create_plan(
            self.group,
            options.out,
            model=options.model,
            training=options.training,
            rounds=options.rounds,
            seed=options.seed,
        )
        return plan, provision(self.group, options.out, plan, [site.name for site in self.data])

    def start(self, plan: Path, kits: Path) -> None:
        self.running = start_all(
            self.group, self.options.out, plan, kits, self.data, self.options.model, self.display.site
        )
        self.note_versions("before")

    def note_versions(self, stage: str) -> None:
        """Remember which version serves at each site now."""
        self.versions[stage] = self.each_site(lambda client, _: client.champion(self.options.model))

    def annotate(self) -> dict[str, list[Annotation]]:
        def work(client: SiteClient, data: SiteData) -> list[Annotation]:
            def progress(case: str, done: int, total: int) -> None:
                self.display.site(data.name, "corrected", done / total, f"{done} of {total}")

            return annotate_site(client, data, self.options.model, progress=progress)

        made = self.each_site(work)
        self.display.detail(f"{sum(map(len, made.values()))} corrections submitted")
        return made

    def learn(self) -> None:
        options = self.options

        def work(client: SiteClient, data: SiteData) -> float:
            begin = time.monotonic()
            result: dict[str, Any] = {}
            for state in client.learn(options.model, options.training.local_steps, options.seed):
                left = f"{state['seconds_left']:.0f} s left" if state.get("seconds_left") else ""
                self.display.site(data.name, state["state"], state["progress"], left)
                result = state["result"] or {}
            verdict = "promoted" if result.get("promoted") else "refused"
            self.display.site(data.name, f"{result.get('version')} {verdict}", 1.0)
            return time.monotonic() - begin

        self.train_seconds = self.each_site(work)
        self.note_versions("local")

    def federate(self) -> dict[str, Any]:
        self.each_site(lambda client, _: client.approve_plan())
        starter = SiteClient(self.running[0].name, self.running[0].url)
        run = starter.start_rounds(self.options.rounds)
        last: dict[str, Any] = {}
        for state in starter.watch_rounds(run, self.group.check):
            last = state
            for name, site in state["sites"].items():
                dice = f", validation Dice {site['dice']:.2f}" if site.get("dice") is not None else ""
                number = f"round {state['round'] + 1} of {state['rounds']}"
                self.display.site(name, f"{number}: {site['state']}{dice}", site.get("progress"))
        self.note_versions("federated")
        return last

    def test(self) -> dict[str, dict[str, Segmented]]:
        """Bring the test images to the sites and segment them with the three versions."""

        def work(client: SiteClient, data: SiteData) -> dict[str, Segmented]:
            cases = data.part("test")
            add_images(cases, self.options.out / "sites" / data.name / "studies")
            return {stage: self._segment(client, data.name, stage, cases) for stage in STAGES}

        return self.each_site(work)

    def _segment(self, client: SiteClient, name: str, stage: str, cases: Sequence[Any]) -> Segmented:
        version = self.versions[stage][name]

        def progress(done: int, total: int) -> None:
            self.display.site(name, f"version {version}", done / total, f"{done} of {total} cases")

        return segment_cases(client, self.options.model, version, cases, progress)

    def site_results(
        self, rounds: Mapping[str, Any], tested: Mapping[str, Mapping[str, Segmented]]
    ) -> list[SiteResult]:
        known = self.each_site(lambda client, _: client.versions(self.options.model))
        results = []
        for name, versions in known.items():
            learned = [entry for entry in versions if entry["origin"] != "base"]
            shares = [entry["sites"].get(name, {}) for entry in rounds["history"]]
            results.append(
                SiteResult(
                    name=name,
                    dice={stage: tested[name][stage].dice for stage in STAGES},
                    promoted=sum(entry["state"] in {"champion", "accepted"} for entry in learned),
                    refused=sum(entry["state"] == "refused" for entry in learned),
                    bytes_sent=sum(int(share.get("bytes_up") or 0) for share in shares),
                    seconds=self.train_seconds[name] + sum(float(share.get("seconds") or 0) for share in shares),
                    reasons=[(entry["id"], entry.get("reason") or entry["origin"]) for entry in versions],
                )
            )
        return results


def _rounds(state: Mapping[str, Any]) -> list[RoundResult]:
    return [
        RoundResult(
            round=int(entry["round"]) + 1,
            seconds=float(entry["seconds"]),
            bytes_up=int(entry["bytes_up"]),
            bytes_down=int(entry["bytes_down"]),
            dice=dict(entry["dice"]),
        )
        for entry in state["history"]
    ]


def _overlays(
    data: Sequence[SiteData],
    annotations: Mapping[str, Sequence[Annotation]],
    tested: Mapping[str, dict[str, Segmented]],
) -> list[Overlay]:
    pictures = [worst_overlay(site.part("test"), tested[site.name]) for site in data]
    return pictures + [max(annotations[site.name], key=lambda item: item.wrong).overlay for site in data]


def run_demo(
    options: DemoOptions,
    console: Console,
    after: Callable[[RunResult, list[RunningSite], Callable[[], None]], None],
) -> None:
    """Run every stage and write the report.

    Args:
        options: what to do; the output folder exists and is empty.
        console: where progress is shown.
        after: called while the servers still run with the result, the sites, and a function that raises
            if a server has died.

    Raises:
        DemoError: something cannot go on; everything that was started is stopped then.
    """
    names = _expected_sites(options)
    with ProcessGroup(options.out, environment()) as group:
        with Display(console, STAGE_TITLES, names) as display:
            result, running = _all_stages(_Run(options, group, display))
        after(result, running, group.check)


def _expected_sites(options: DemoOptions) -> list[str]:
    """Site names before anything is read, for the display.

    Raises:
        DatasetError: a site that the generator does not know.
    """
    if options.data is not None:
        return list(options.sites) or sorted(path.parent.name for path in options.data.glob("*/images"))
    known = [scanner.name for scanner in SCANNERS]
    for name in options.sites:
        if name not in known:
            raise DatasetError(f"there is no generated site {name!r}", f"choose --sites from: {', '.join(known)}")
    return list(options.sites) or known


def _all_stages(run: _Run) -> tuple[RunResult, list[RunningSite]]:
    display, options = run.display, run.options
    display.next_stage()
    baseline = run.read_data()
    display.next_stage()
    plan, kits = run.make_plan()
    display.next_stage()
    run.start(plan, kits)
    display.next_stage()
    mutual_tls = mutual_tls_required(kits / "sites" / run.data[0].name)
    display.detail("a connection without a certificate is refused" if mutual_tls else "NOT confirmed")
    display.next_stage()
    annotations = run.annotate()
    display.next_stage()
    run.learn()
    display.next_stage()
    rounds = run.federate()
    display.next_stage()
    tested = run.test()
    display.next_stage()
    result = RunResult(
        engine="nvflare",
        mutual_tls=mutual_tls,
        method=str(rounds["method"]),
        model=options.model,
        seed=options.seed,
        sites=run.site_results(rounds, tested),
        rounds=_rounds(rounds),
        seconds_total=display.elapsed,
        threshold_baseline=baseline,
        settings=_settings(options, run.data),
        annotations=annotations,
        overlays=_overlays(run.data, annotations, tested),
    )
    write_report(result, options.out)
    return result, run.running


def _settings(options: DemoOptions, data: Sequence[SiteData]) -> list[tuple[str, str]]:
    training = options.training
    parts = "; ".join(
        f"{site.name} " + "/".join(str(len(site.part(part))) for part in ("train", "val", "test")) for site in data
    )
    return [
        ("data", "generated volumes" if options.data is None else options.data.name),
        ("cases (training/validation/test)", parts),
        ("local learning", f"{training.local_steps} steps"),
        ("a federated round", f"{training.round_steps} steps at each site"),
        ("network input", f"slices of {training.image_size} px, {training.batch_size} a step"),
        ("learning rate", f"{training.learning_rate:g}"),
        ("seed", str(options.seed)),
    ]
