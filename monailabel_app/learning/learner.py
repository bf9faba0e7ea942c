"""The learner as the server sees it: starts the process, wakes it, restarts it, stops it.

One thread owns the process: it spawns it, reads its replies, and deals with its death. The thread
lives until :meth:`Learner.stop`, because on Linux a child that asked for the parent-death signal
dies with the *thread* that made it. Shared with request threads under one lock: the process handle
and its standard input. The process is started at the first job (or :meth:`Learner.warm`) and then
kept: importing torch takes seconds.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import monailabel_app
from monailabel_app.errors import Conflict, StateError, Unavailable
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.schedule import Schedule
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.state.context import SiteContext
from monailabel_app.state.site import SiteState

__all__ = ["Learner", "request_learning"]

logger = logging.getLogger(__name__)

_FIRST_DELAY_S = 0.2
_LAST_DELAY_S = 30.0
_HEALTHY_S = 20.0
_FAILED_STARTS = 3
_RECORD_AGAIN_S = 2.0
_LOG_BYTES = 4 * 2**20


def request_learning(
    context: SiteContext, model: str | None = None, steps: int | None = None, seed: int | None = None, author: str = ""
) -> Job:
    """Queue a learning job for a user; a job that waits already is returned instead.

    Raises:
        NotFound: no such model here.
        Conflict: no corrected case to learn from.
    """
    chosen = context.model(model)
    if not context.state.corrections.newest("train"):
        corrected = {c.case for c in context.state.corrections.list()}
        open_cases = [c for c, part in context.state.splits.all().items() if part == "train" and c not in corrected]
        raise Conflict(
            "there is no corrected training case to learn from",
            f"submit a correction of a training case first, e.g. {', '.join(open_cases[:3])}"
            if open_cases
            else "submit a correction of a training case first",
        )
    return context.state.jobs.submit("learn", chosen, {"steps": steps, "seed": seed}, author=author)


class Learner:
    """Supervises the learner process of one site.

    Args:
        state: the site's state, owned by this server.
        setup: what the process is told.
    """

    def __init__(self, state: SiteState, setup: LearnerSetup) -> None:
        self._state = state
        self._setup = setup
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="learner", daemon=True)
        self._schedule = Schedule(state, setup.plan.model.name if setup.plan else next(iter(setup.specs)))

    def start(self) -> None:
        """Begin to serve jobs; those that wait from before are taken up."""
        self._state.jobs.on_submit(self.wake)
        if self._state.jobs.active():
            self._wanted.set()
        self._thread.start()
        self._schedule.start()

    def warm(self) -> None:
        """Start the process before the first job needs it."""
        self._wanted.set()

    def wake(self) -> None:
        """Tell the process that a job was queued."""
        self._wanted.set()
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                _tell(self._process.stdin, "wake")

    @property
    def pid(self) -> int | None:
        """Process id of the learner, or ``None`` while there is none."""
        with self._lock:
            return self._process.pid if self._process is not None else None

    def wait_ready(self, timeout: float) -> bool:
        """Whether the process takes jobs within ``timeout`` seconds."""
        return self._ready.wait(timeout)

    def stop(self) -> None:
        """End the process, record the job at work as interrupted, and let go who waits for one."""
        self._schedule.stop()
        self._state.jobs.close()
        self._stopping.set()
        self._wanted.set()
        with self._lock:
            process = self._process
            if process is not None and process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()  # the process exits at its end
        if process is not None:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        try:
            self._state.jobs.recover("the site was stopped")
        except StateError as error:  # at its next start the site does it
            logger.warning("the job at work cannot be recorded as interrupted: %s", error)

    def _supervise(self) -> None:
        delay, failed_starts = _FIRST_DELAY_S, 0
        while not self._stopping.is_set():
            self._wanted.wait()
            if self._stopping.is_set():
                break
            begin = time.monotonic()
            cause = self._live_once()
            if self._stopping.is_set():
                break
            logger.warning("%s; starting it again", cause)
            failed_starts = 0 if self._ready.is_set() else failed_starts + 1
            self._ready.clear()
            self._record(partial(self._state.jobs.recover, cause))
            if failed_starts >= _FAILED_STARTS:
                self._record(self._give_up)
                failed_starts = 0
            delay = _FIRST_DELAY_S if time.monotonic() - begin > _HEALTHY_S else min(delay * 2, _LAST_DELAY_S)
            self._stopping.wait(delay)

    def _record(self, write: Callable[[], object]) -> None:
        """Write to the records; where these cannot be written (a full disk), as soon as they can."""
        while not self._stopping.is_set():
            try:
                write()
                return
            except StateError as error:
                logger.warning("the end of a job cannot be recorded yet: %s", error)
                self._stopping.wait(_RECORD_AGAIN_S)

    def _live_once(self) -> str:
        """Spawn the process and follow it to its end; returns how it ended."""
        try:
            process = self._spawn()
        except OSError as error:
            return f"the learner process cannot be started ({error.strerror})"
        assert process.stdout is not None
        with self._lock:
            self._process = process
        for line in process.stdout:
            if line.strip() == "ready":
                self._ready.set()
            self._state.jobs.notify()
        code = process.wait()
        with self._lock:
            self._process = None
        _close(process)
        return "the learner process was killed" if code < 0 else f"the learner process ended (exit status {code})"

    def _spawn(self) -> subprocess.Popen[str]:
        threads = str(self._setup.threads)
        root = str(Path(monailabel_app.__file__).parent.parent)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        }
        command = [sys.executable, "-m", "monailabel_app.learning.worker"]
        command += ["--state", str(self._state.folder), "--parent", str(os.getpid())]
        with self._open_log() as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert process.stdin is not None
        _tell(process.stdin, self._setup.model_dump_json())
        return process

    def _open_log(self) -> IO[bytes]:
        path = self._state.folder / "learner.log"
        too_long = path.is_file() and path.stat().st_size > _LOG_BYTES
        return path.open("wb" if too_long else "ab")

    def _give_up(self) -> None:
        """Fail what waits: the process does not come up. The next job tries again."""
        self._wanted.clear()
        error = Unavailable(
            "the learner process does not start", "learner.log in the site's state folder has the cause"
        )
        for job in self._state.jobs.active():
            self._state.jobs.fail(job.number, error)
        self._state.jobs.notify()


def _tell(stream: IO[str], line: str) -> None:
    """Write a line to the process; one that just died is dealt with by its thread."""
    with suppress(OSError, ValueError):
        stream.write(line + "\n")
        stream.flush()


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
