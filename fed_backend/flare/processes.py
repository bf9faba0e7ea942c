"""Child processes that never outlive their parent.

A child starts through :mod:`fed_backend.flare.child`, which asks Linux to kill it when its parent
dies; :meth:`Child.stop` ends the child with all its descendants, gently first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

__all__ = ["SMALL_HEAP", "Child", "Stopped", "stop_on_signals", "stop_tree"]

_LOG_BYTES = 2_000_000
SMALL_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(2**18), "MALLOC_ARENA_MAX": "2"}
"""Environment of a process that carries payloads: glibc gives every block of 256 KiB or more back once it is free.

By itself it keeps what was freed, in a heap for each of FLARE's many threads: a few payloads over.
"""


class Stopped(BaseException):
    """Raised in the main thread on SIGTERM or SIGINT; not an error, so not an ``Exception``."""


def stop_on_signals() -> None:
    """Turn SIGTERM and SIGINT into :class:`Stopped`; a second signal while stopping is ignored."""

    def raise_stopped(_signal: int, _frame: FrameType | None) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, raise_stopped)


class Child:
    """A running child process.

    Args:
        command: program and arguments.
        cwd: its working directory.
        log: file that collects its output; begun anew when it has grown large.
        environment: variables added to this process's own.

    Must be created in a thread that lives as long as the child may: Linux ties the child to the
    thread that made it.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        mode = "wb" if log.exists() and log.stat().st_size > _LOG_BYTES else "ab"
        # The child resolves modules in its own working directory, not in ours.
        paths = [os.path.abspath(path or ".") for path in sys.path if path or not sys.flags.safe_path]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})}
        wrapper = [sys.executable, "-m", "fed_backend.flare.child", str(os.getpid()), "--"]
        with open(log, mode) as output:
            self._process = subprocess.Popen(
                [*wrapper, *command],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops its children in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, or ``None`` while it runs."""
        return self._process.poll()

    def stop(self, grace_s: float = 3.0) -> None:
        """End the child and all its descendants; returns when they are gone."""
        stop_tree(self.pid, grace_s)
        self._process.wait()


def stop_tree(pid: int, grace_s: float = 3.0) -> None:
    """Terminate a process and its descendants, then kill what is left after ``grace_s`` seconds."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        _ignore_gone(process.terminate)
    _, alive = psutil.wait_procs(family, timeout=grace_s)
    for process in alive:
        _ignore_gone(process.kill)
    psutil.wait_procs(alive, timeout=grace_s)


def _ignore_gone(action: object) -> None:
    try:
        if callable(action):
            action()
    except psutil.NoSuchProcess:
        return
