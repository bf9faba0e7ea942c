"""A peer's model visits (GCML): it and the site's own learn from each other, and the gate judges the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from fed_backend.methods.base import Update
from fed_backend.methods.gcml import GCML
from fed_backend.payload import PayloadHeader, Tensors
from fed_backend.plan import Plan
from monailabel_app.federation.own_model import own_model, remember_own_model
from monailabel_app.federation.participant import open_visit
from monailabel_app.federation.visitor import meet
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter
from monailabel_app.learning.tasks.again import conclude, made_before
from monailabel_app.learning.tasks.workbench import Workbench, mix_seed
from monailabel_app.models.base import Segmenter, no_progress
from monailabel_app.state.versions import Version, VersionStore

__all__ = ["visit"]


def visit(bench: Workbench, job: Job, plan: Plan, data: bytes) -> tuple[dict[str, Any], str]:
    """Let a visitor in for one exchange; the site goes on with the result, which serves if the gate lets it."""
    header, tensors = open_visit(data, plan)
    segmenter, store = bench.open(job.model, plan)
    facts = {"visitor": header.site, "visit": header.round, "plan_sha256": plan.sha256}
    meter = bench.meter(job, plan.training.steps, judge=True)
    version = made_before(store, facts) or _learn(bench, segmenter, store, meter, plan, header, tensors, facts)
    result, reason = conclude(bench, segmenter, store, version, meter)
    if own_model(bench.state, plan) == version.settings.get("own", version.parent):  # older versions: the parent
        remember_own_model(bench.state, plan, version.id)
    return {**result, "chosen": version.settings["chosen"]}, reason


def _learn(
    bench: Workbench,
    segmenter: Segmenter,
    store: VersionStore,
    meter: Meter,
    plan: Plan,
    header: PayloadHeader,
    tensors: Tensors,
    facts: Mapping[str, Any],
) -> Version:
    """The site's model and its visitor learn from each other; the best of both as a version."""
    method, site = GCML(plan), bench.setup.site_name
    shared, champion, own = method.shared_keys(), store.champion(), own_model(bench.state, plan)
    current = store.load(own)
    corrections, _ = bench.training_cases()
    judges = bench.state.corrections.usable(bench.state.corrections.newest("validation"))

    def score(candidate: Tensors) -> dict[str, float]:
        found = bench.score(segmenter, candidate, judges, no_progress)
        return {case: fmean(measured.dice.values()) for case, measured in found.items()}

    seed = mix_seed(plan.training.seed, site, header.site, header.round)
    met = meet(
        segmenter,
        method,
        Update(site, {name: current[name] for name in shared}, len(corrections)),
        Update(header.site, tensors, header.examples),
        {name: tensor for name, tensor in current.items() if name not in shared},
        bench.load(corrections),
        plan.training,
        score,
        seed=seed,
        progress=meter.phase("train", "running", f"learning with a visitor from {header.site}"),
        on_loss=meter.losses.append,
    )
    figures = {f"dice_{name}": value for name, value in met.scores.items()}
    return bench.keep(
        store,
        met.tensors,
        "federation",
        champion,
        segmenter,
        seed,
        plan.training,
        corrections,
        figures,
        {**facts, "own": own, "chosen": met.chosen},
    )
