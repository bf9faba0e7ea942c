"""The learn job: the site trains on its own corrections."""

from __future__ import annotations

from typing import Any

from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks.workbench import Workbench, judgement, mix_seed

__all__ = ["learn"]


def learn(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Train on the corrections from the champion; the outcome serves if the gate lets it."""
    update = {key: job.params[key] for key in ("steps",) if job.params.get(key) is not None}
    training = bench.setup.training.model_copy(update=update)
    requested = job.params.get("seed")
    seed = int(requested) if requested is not None else mix_seed(training.seed, bench.setup.site_name)
    segmenter, store = bench.open(job.model)
    champion = store.champion()
    corrections, left_out = bench.training_cases()
    meter = bench.meter(job, training.steps, judge=True)
    start = store.load(champion)
    tensors, metrics = bench.train(segmenter, start, corrections, training, seed, meter, job)
    version = bench.keep(store, tensors, "learning", champion, segmenter, seed, training, corrections, metrics)
    judged = bench.judge_and_promote(segmenter, store, version, tensors, meter)
    note = f" {left_out} corrected case(s) were left out: image missing or changed." if left_out else ""
    return judgement(version.id, judged.decision), judged.decision.reason + note
