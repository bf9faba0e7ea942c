"""What the learner does for each kind of job, once, in its own process."""

from __future__ import annotations

import logging
import time
from typing import Any

from fed_backend.errors import FedSegError
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks.federated import evaluate, federated_train, offer
from monailabel_app.learning.tasks.learn import learn
from monailabel_app.learning.tasks.workbench import Workbench
from monailabel_app.state.retention import KEEP_LAST, prune

__all__ = ["Workbench", "run_job"]

logger = logging.getLogger("fedseg.learner")

_TASKS = {"learn": learn, "federated_train": federated_train, "offer": offer, "evaluate": evaluate}


def run_job(bench: Workbench, job: Job) -> tuple[dict[str, Any], str]:
    """Do a job; returns its result and one sentence about it.

    Raises:
        FedSegError: the job cannot be done, or was cancelled.
    """
    begin = time.monotonic()
    result, message = _TASKS[job.kind](bench, job)
    if job.kind in ("learn", "offer"):
        _tidy(bench, job.model)
    return {**result, "seconds": round(time.monotonic() - begin, 3)}, message


def _tidy(bench: Workbench, model: str) -> None:
    """Delete versions that retention lets go; a site that cannot is no worse off."""
    try:
        prune(bench.state.versions(model), bench.state.settings.get("keep_last", KEEP_LAST))
    except FedSegError as error:
        logger.warning("old versions were not deleted: %s", error)
