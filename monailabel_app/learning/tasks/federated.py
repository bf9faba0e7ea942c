"""The site's half of a round: train for it, be offered its aggregate, evaluate what came.

What the plan's method shares is taken from the hub, the rest of the adapter from the site's own last
round (:class:`~monailabel_app.federation.local_part.LocalPart`), and before that from the champion.
"""

from __future__ import annotations

import hashlib
from typing import Any

from fed_backend.methods import build_method
from fed_backend.methods.fedprox import FedProx
from fed_backend.payload import PayloadHeader, encode
from fed_backend.plan import Plan
from monailabel_app import __version__
from monailabel_app.federation.local_part import LocalPart
from monailabel_app.federation.participant import open_request
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks.workbench import Workbench, judgement, mix_seed
from monailabel_app.state.versions import NewVersion

__all__ = ["evaluate", "federated_train", "offer"]


def federated_train(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Train for a round from what the hub sent; the result names the reply."""
    agreed, data = bench.request(job)
    plan, header, received = open_request(data, agreed, ("global",))
    segmenter, store = bench.open(job.model, plan)
    method, local = build_method(plan), _local_part(bench, plan)
    shared = method.shared_keys()
    training = method.training(plan.training) if isinstance(method, FedProx) else plan.training
    if not received:  # the first round of a federation: everybody starts from the initial adapter
        base = store.load(store.base())
        received = {name: base[name] for name in shared}
    start = {**store.load(store.champion()), **local.before(header.federation_round, header.round), **received}
    corrections, _ = bench.training_cases()
    seed = mix_seed(training.seed, bench.setup.site_name, header.round)
    meter = bench.meter(job, training.steps, judge=False)
    tensors, metrics = bench.train(segmenter, start, corrections, training, seed, meter, job)
    kept = {name: tensor for name, tensor in tensors.items() if name not in shared}
    if kept:
        local.keep(header.federation_round, header.round, kept)
    reply = encode(
        PayloadHeader(
            kind="update",
            plan_sha256=plan.sha256,
            base_sha256=plan.base_sha256,
            site=bench.setup.site_name,
            federation_round=header.federation_round,
            round=header.round,
            method=plan.method.name,
            examples=len(corrections),
            parent_sha256=hashlib.sha256(data).hexdigest(),
            metrics=metrics,
        ),
        {name: tensors[name] for name in shared},
    )
    message = f"trained on {len(corrections)} corrected case(s) for round {header.round}"
    return {"reply": bench.state.exchanges.keep(reply), "examples": len(corrections), **metrics}, message


def offer(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Make an aggregate a version; it serves if the gate lets it."""
    agreed, data = bench.request(job)
    plan, header, received = open_request(data, agreed, ("aggregate",))
    segmenter, store = bench.open(job.model, plan)
    champion = store.champion()
    tensors = {**store.load(champion), **_local_part(bench, plan).latest(), **received}
    settings = {
        "federation_round": header.federation_round,
        "round": header.round,
        "method": header.method,
        "payload_sha256": hashlib.sha256(data).hexdigest(),
        "plan_sha256": plan.sha256,
    }
    record = NewVersion(
        origin="federation",
        parent=champion,
        base_sha256=segmenter.base_sha256,
        settings=settings,
        metrics=dict(header.metrics),
        code_version=__version__,
    )
    version = store.create(tensors, record)
    meter = bench.meter(job, 0, judge=True)
    judged = bench.judge_and_promote(segmenter, store, version, tensors, meter)
    return judgement(version.id, judged.decision), judged.decision.reason


def evaluate(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """What the gate would say about received tensors; nothing is stored."""
    agreed, data = bench.request(job)
    plan, _, received = open_request(data, agreed, ("global", "aggregate"))
    segmenter, store = bench.open(job.model, plan)
    tensors = {**store.load(store.champion()), **_local_part(bench, plan).latest(), **received}
    meter = bench.meter(job, 0, judge=True)
    judged = bench.judge(segmenter, store, tensors, meter)
    return judgement(None, judged.decision), judged.decision.reason


def _local_part(bench: Workbench, plan: Plan) -> LocalPart:
    return LocalPart(bench.state.folder / "local" / plan.sha256)
