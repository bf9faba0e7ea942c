"""``python -m fed_backend.flare.child PARENT_PID -- PROGRAM ARGUMENT...``: run a program that dies with its parent.

Linux is asked to send SIGKILL when the parent dies (``PR_SET_PDEATHSIG``), which survives exec. A
wrapper does this rather than ``preexec_fn``, which is unsafe in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["die_with_parent", "main", "watch_parent"]

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


def die_with_parent(parent: int) -> None:
    """Ask for SIGKILL at the parent's death; exits now if it died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(f"parent {parent} is gone")


def watch_parent(then: Callable[[], None]) -> threading.Thread:
    """Call ``then`` when this process loses the parent it has now.

    For processes that others start (FLARE's job processes): the kernel's signal is tied to the
    thread that forked, which may be a short-lived one, so this looks at the parent itself.
    """
    parent = os.getppid()
    gone = threading.Event()  # never set: only a sleep that needs no import of time

    def watch() -> None:
        while os.getppid() == parent:
            gone.wait(_POLL_S)
        then()

    thread = threading.Thread(target=watch, name="watch-parent", daemon=True)
    thread.start()
    return thread


def main() -> None:
    """Entry point of the wrapper."""
    parent, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        raise SystemExit("usage: child PARENT_PID -- PROGRAM ARGUMENT...")
    die_with_parent(int(parent))
    os.execv(command[0], command)  # noqa: S606 - no shell; the program is named by our own supervisor


if __name__ == "__main__":
    main()
