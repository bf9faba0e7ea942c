"""What the learner does for each kind of job, once, in its own process."""

from __future__ import annotations

import time
from typing import Any

from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks.federated import evaluate, federated_train, offer
from monailabel_app.learning.tasks.learn import learn
from monailabel_app.learning.tasks.workbench import Workbench

__all__ = ["Workbench", "run_job"]

_TASKS = {"learn": learn, "federated_train": federated_train, "offer": offer, "evaluate": evaluate}


def run_job(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Do a job; returns its result and one sentence about it.

    Raises:
        FedSegError: the job cannot be done, or was cancelled.
    """
    begin = time.monotonic()
    result, message = _TASKS[job.kind](bench, job)
    return {**result, "seconds": round(time.monotonic() - begin, 3)}, message
