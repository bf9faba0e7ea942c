"""The site's half of a round: train for it, be offered its aggregate, evaluate what came.

What the plan's method shares is taken from the hub, the rest of the adapter from the site's own last
round (:class:`~monailabel_app.federation.local_part.LocalPart`), and before that from the champion.
How a method trains, and what its version holds, is in :mod:`monailabel_app.federation.halves`.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from fed_backend.methods import GOSSIP
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from monailabel_app import __version__
from monailabel_app.federation.local_part import LocalPart
from monailabel_app.federation.participant import Kind
from monailabel_app.federation.privacy import PrivacyLedger
from monailabel_app.federation.site_round import SiteRound
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks.again import conclude, made_before
from monailabel_app.learning.tasks.visiting import visit
from monailabel_app.learning.tasks.workbench import Workbench, judgement, mix_seed
from monailabel_app.models.base import Segmenter, no_progress
from monailabel_app.state.versions import NewVersion, VersionStore

__all__ = ["evaluate", "federated_train", "offer"]


def federated_train(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Train for a round from what the hub sent; the result names the reply."""
    request, segmenter, store = _open(bench, job, "global")
    agreed, _ = bench.request(job)
    header, local = request.header, _local_part(bench, request.plan)
    residual = LocalPart(bench.state.folder / "local" / f"{request.plan.sha256}-residual")
    corrections, _ = bench.training_cases()
    ledger = PrivacyLedger(bench.state.database)
    ledger.require(agreed)
    start = request.start(
        store.load(store.base()), store.load(store.champion()), local.before(header.federation_round, header.round)
    )
    meter = bench.meter(job, request.half.steps, judge=False)
    trained = request.train(
        segmenter,
        [bench.state.corrections.load(c) for c in corrections],
        start,
        residual.before(header.federation_round, header.round),
        mix_seed(request.plan.training.seed, bench.setup.site_name, header.round),
        meter.phase("train", "running", f"training on {len(corrections)} corrected case(s)"),
        meter.losses.append,
    )
    bench.figures(job, trained.figures)
    for part, tensors in ((local, trained.local), (residual, trained.lost)):
        if tensors:
            part.keep(header.federation_round, header.round, tensors)
    message = f"trained on {len(corrections)} corrected case(s) for round {header.round}"
    ledger.spend(agreed, header.federation_round, header.round)  # before it can leave
    kept = bench.state.exchanges.keep(trained.reply)
    return {"reply": kept, "examples": len(corrections), **trained.metrics}, message


def offer(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Make an aggregate, or what a visitor led to, a version; it serves if the gate lets it."""
    agreed, data = bench.request(job)
    if agreed.method.name in GOSSIP:
        return visit(bench, job, agreed, data)
    request, segmenter, store = _open(bench, job, "aggregate")
    settings = {
        "federation_round": request.header.federation_round,
        "round": request.header.round,
        "method": request.header.method,
        "payload_sha256": job.params["request"],
        "plan_sha256": request.plan.sha256,
    }
    version = made_before(store, settings)
    if version is None:
        record = NewVersion(
            origin="federation",
            parent=store.champion(),
            base_sha256=segmenter.base_sha256,
            settings=settings,
            metrics=dict(request.header.metrics),
            code_version=__version__,
        )
        version = store.create(_offered(bench, request, segmenter, store), record)
    return conclude(bench, segmenter, store, version, bench.meter(job, 0, judge=True))


def evaluate(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """What the gate would say about received tensors; nothing is stored."""
    request, segmenter, store = _open(bench, job, "global", "aggregate")
    tensors = _offered(bench, request, segmenter, store)
    meter = bench.meter(job, 0, judge=True)
    judged = bench.judge(segmenter, store, tensors, meter)
    return judgement(None, judged.decision), judged.decision.reason


def _open(bench: Workbench, job: Job, *kinds: Kind) -> tuple[SiteRound, Segmenter, VersionStore]:
    agreed, data = bench.request(job)
    request = SiteRound(data, agreed, kinds, bench.setup.site_name)
    return request, *bench.open(job.model, request.plan)


def _offered(bench: Workbench, request: SiteRound, segmenter: Segmenter, store: VersionStore) -> Tensors:
    """What the gate judges: the shared tensors as received, the rest as this site left it."""
    local = _local_part(bench, request.plan).latest()
    tensors = request.start(store.load(store.base()), store.load(store.champion()), local)
    corrections = bench.state.corrections.usable(bench.state.corrections.newest("validation"))

    def score(model: Tensors) -> dict[str, float]:
        found = bench.score(segmenter, model, corrections, no_progress)
        return {case: fmean(measured.dice.values()) for case, measured in found.items()}

    volumes = {c.case: bench.state.corrections.load(c)[0] for c in corrections}
    return request.half.version(tensors, volumes, score)


def _local_part(bench: Workbench, plan: Plan) -> LocalPart:
    return LocalPart(bench.state.folder / "local" / plan.sha256)
