"""A peer's model visits (GCML): it and the site's own learn from each other, and the gate judges the outcome."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from fed_backend.methods.base import Update
from fed_backend.methods.gcml import GCML
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from monailabel_app.federation.own_model import own_model, remember_own_model
from monailabel_app.federation.participant import open_visit
from monailabel_app.federation.visitor import meet
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks.workbench import Workbench, judgement, mix_seed
from monailabel_app.models.base import no_progress

__all__ = ["visit"]


def visit(bench: Workbench, job: Job, plan: Plan, data: bytes) -> tuple[dict[str, Any], str]:
    """Let a visitor in for one exchange; the site goes on with the result, which serves if the gate lets it."""
    header, tensors = open_visit(data, plan)
    segmenter, store = bench.open(job.model, plan)
    method, site = GCML(plan), bench.setup.site_name
    shared, own = method.shared_keys(), own_model(bench.state, plan)
    current = store.load(own)
    corrections, _ = bench.training_cases()
    judges = bench.state.corrections.usable(bench.state.corrections.newest("validation"))

    def score(candidate: Tensors) -> dict[str, float]:
        found = bench.score(segmenter, candidate, judges, no_progress)
        return {case: fmean(measured.dice.values()) for case, measured in found.items()}

    seed = mix_seed(plan.training.seed, site, header.site, header.round)
    meter = bench.meter(job, plan.training.steps, judge=True)
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
    version = bench.keep(
        store,
        met.tensors,
        "federation",
        own,
        segmenter,
        seed,
        plan.training,
        corrections,
        figures,
        {"visitor": header.site, "visit": header.round, "chosen": met.chosen, "plan_sha256": plan.sha256},
    )
    judged = bench.judge_and_promote(segmenter, store, version, met.tensors, meter)
    remember_own_model(bench.state, plan, version.id)
    return {**judgement(version.id, judged.decision), "chosen": met.chosen}, judged.decision.reason
