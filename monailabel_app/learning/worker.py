"""The learner process: ``python -m monailabel_app.learning.worker --state DIR --parent PID``.

Protocol with the server (:mod:`monailabel_app.learning.learner`), line by line, UTF-8:
standard input: first one line of JSON (:class:`LearnerSetup`), then ``wake`` whenever a job was
queued; its end means that the server is gone, and the process exits at once. Standard output:
``ready`` once jobs can be taken, ``changed`` whenever a job changed its state.
Everything that matters is in the site's records, so the process may be killed at any moment.
torch is imported once; models stay built between jobs.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TextIO

from filelock import FileLock, Timeout

from fed_backend.errors import FedSegError
from monailabel_app.errors import StateError
from monailabel_app.learning.jobs import Job, Jobs
from monailabel_app.learning.setup import LearnerSetup

__all__ = ["main"]

logger = logging.getLogger("fedseg.learner")

_OPTIONAL = (
    "accelerate",
    "huggingface_hub",
    "ignite",
    "itk",
    "matplotlib",
    "mlflow",
    "pandas",
    "pydicom",
    "skimage",
    "sklearn",
    "tensorboard",
    "tensorboardX",
    "tifffile",
    "transformers",
)
_RECORD_AGAIN_S = 2.0
_IDLE_S = 5.0  # a lost wake-up delays a job by this much at most


def main() -> int:
    """Run until standard input ends. Returns the exit status."""
    parser = argparse.ArgumentParser(description="The learner of a site; started by its server.")
    parser.add_argument("--state", type=Path, required=True, help="state folder of the site")
    parser.add_argument("--parent", type=int, required=True, help="process id of the server")
    arguments = parser.parse_args()
    folder: Path = arguments.state
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends us
    _die_with_parent(arguments.parent)
    replies = _take_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    line = sys.stdin.readline()
    if not line.strip():
        return 0
    setup = LearnerSetup.model_validate_json(line)
    os.nice(setup.niceness)
    wake = threading.Event()
    threading.Thread(target=_listen, args=(wake,), name="stdin", daemon=True).start()
    lock = FileLock(folder / "learner.lock", timeout=15)
    try:
        with lock:
            _serve(folder, setup, wake, replies)
    except Timeout:
        logger.error("another learner works on this site")
        return 3
    return 0


def _serve(folder: Path, setup: LearnerSetup, wake: threading.Event, replies: TextIO) -> None:
    import torch  # after the number of threads is in the environment

    _import_monai_alone()
    from monailabel_app.learning.tasks import Workbench
    from monailabel_app.state.site import SiteState

    torch.set_num_threads(setup.threads)
    state = SiteState(folder, setup.studies, own=False)
    bench = Workbench(state, setup)
    bench.prepare()
    _say(replies, "ready")
    while True:
        job = _claim(state.jobs)
        if job is None:
            if not _use_idle_time(bench, wake):
                wake.wait(_IDLE_S)
            wake.clear()
            continue
        _say(replies, "changed")
        _run(bench, state.jobs, job)
        _say(replies, "changed")


def _use_idle_time(bench: object, wake: threading.Event) -> bool:
    """Look at an open case; whether it may be worth going on at once. It is never worth failing for."""
    from monailabel_app.learning.tasks.valuing import value_next
    from monailabel_app.learning.tasks.workbench import Workbench

    assert isinstance(bench, Workbench)
    try:
        return value_next(bench, wake.is_set)
    except FedSegError as error:
        logger.info("open cases were not looked at: %s", error)
        return False


def _run(bench: object, jobs: Jobs, job: Job) -> None:
    from monailabel_app.learning.tasks import Workbench, run_job

    assert isinstance(bench, Workbench)
    try:
        result, message = run_job(bench, job)
    except FedSegError as error:
        logger.info("job %s ended: %s", job.id, type(error).__name__)
        cause = error
    except Exception as error:
        reference = secrets.token_hex(4)
        logger.exception("job %s failed, reference %s", job.id, reference)
        what = "ran out of memory" if isinstance(error, MemoryError) else "failed unexpectedly"
        cause = StateError(
            f"the learner {what} (reference {reference})",
            "try again; if it stays, learner.log in the state folder has the cause",
        )
    else:
        _record(lambda: jobs.finish(job.number, result, message))
        return
    _record(lambda: jobs.fail(job.number, cause))


def _claim(jobs: Jobs) -> Job | None:
    """The next job; none while the records cannot be written."""
    try:
        return jobs.claim()
    except StateError as error:
        logger.warning("no job can be taken: %s", error)
        return None


def _record(write: Callable[[], None]) -> None:
    """Record how a job ended; on a full disk, as soon as there is space. The server's end ends this process."""
    while True:
        try:
            write()
            return
        except StateError as error:
            logger.warning("the end of a job cannot be recorded yet: %s", error)
            time.sleep(_RECORD_AGAIN_S)


def _import_monai_alone() -> None:
    """Import MONAI without the optional packages that it loads wherever it finds them.

    Training needs none of them, and they take two thirds of the time: a learner is ready, or back
    after a fault, in a third of it. Our own modules may import them afterwards.
    """
    absent = [name for name in _OPTIONAL if name not in sys.modules]
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(absent))  # None: not to be imported
    try:
        importlib.import_module("monai.networks.nets")
    finally:
        for name in absent:
            del modules[name]


def _listen(wake: threading.Event) -> None:
    for _ in sys.stdin:
        wake.set()
    os._exit(0)  # the server is gone: nothing here needs saving


def _take_stdout() -> TextIO:
    """Keep standard output for the protocol; what libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _say(replies: TextIO, word: str) -> None:
    try:
        replies.write(word + "\n")
    except OSError:
        os._exit(0)


def _die_with_parent(parent: int) -> None:
    """On Linux, be killed when the server dies, even if something else holds our standard input."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
