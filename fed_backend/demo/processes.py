"""Starting and stopping the processes of the demonstration, and exactly those.

Every process leads a session of its own, so that Ctrl-C in the terminal reaches the demonstration
only, which then stops the others in reverse order. Descendants are looked up by parent id before a
process is stopped; what ignores SIGTERM, or was left behind by its parent, is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import psutil

from fed_backend.demo.errors import ProcessError

__all__ = ["ManagedProcess", "ProcessGroup", "tail"]

POLL_S = 0.1
ORPHAN_S = 2.0
"""How long descendants may outlive their parent before they are killed."""


def tail(path: Path, lines: int = 12) -> str:
    """The last ``lines`` lines of a log file; empty where there is none."""
    try:
        text = path.read_bytes()[-20_000:].decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


class ManagedProcess:
    """One child process with a log file and, if it is a server, a ready file.

    Args:
        name: what people call it, such as ``site north``.
        arguments: argument list after the Python executable.
        out: output folder of the demonstration; the log becomes ``out/logs/<name>.log``.
        ready_file: written by the process when it is ready.
        environment: variables added to ours.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        out: Path,
        *,
        ready_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = Path("logs") / f"{name.replace(' ', '-')}.log"
        self._out = out
        self._ready_file = ready_file
        self._descendants: list[psutil.Process] = []
        (out / "logs").mkdir(parents=True, exist_ok=True)
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        with (out / self.log).open("wb") as stream:
            self._popen = self._start(arguments, stream, {**os.environ, **(environment or {})})

    @staticmethod
    def _start(arguments: Sequence[str], log: BinaryIO, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # The wrapper asks Linux to kill the process should the demonstration itself be killed.
        wrapper = [sys.executable, "-m", "fed_backend.flare.child", str(os.getpid()), "--"]
        return subprocess.Popen(
            [*wrapper, sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def check(self) -> None:
        """Raises:
        ProcessError: the process has ended; quotes the end of its log.
        """
        code = self._popen.poll()
        if code is not None:
            raise ProcessError(f"{self.name} {_ended(code)}{self._quote()}", f"see {self.log} in the output folder")

    def ready(self) -> dict[str, Any] | None:
        """Contents of the ready file, or ``None`` as long as the process is not ready.

        Raises:
            ProcessError: the process has ended.
        """
        self.check()
        if self._ready_file is None or not self._ready_file.is_file():
            return None
        content: dict[str, Any] = json.loads(self._ready_file.read_text(encoding="utf-8"))
        return content

    def wait_ready(self, timeout: float, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Wait for the ready file and return its contents.

        Args:
            timeout: seconds to wait at most.
            watch: called on every turn; may raise to give up.

        Raises:
            ProcessError: the process ended, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while (content := self.ready()) is None:
            watch()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name} is not ready after {timeout:.0f} s{self._quote()}",
                    f"see {self.log} in the output folder",
                )
            time.sleep(POLL_S)
        return content

    def wait(self, timeout: float, watch: Callable[[], None] = lambda: None) -> None:
        """Wait until a command has finished successfully.

        Raises:
            ProcessError: it failed, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while (code := self._popen.poll()) is None:
            watch()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} has not finished after {timeout:.0f} s{self._quote()}")
            time.sleep(POLL_S)
        if code != 0:
            self.check()

    def _quote(self) -> str:
        text = tail(self._out / self.log)
        return f"; its last words:\n{text}\n" if text else "; it wrote nothing"

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM); remembers its descendants for :meth:`finish`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._descendants = psutil.Process(self.pid).children(recursive=True)
        if self.running:
            self._popen.terminate()

    def finish(self, grace: float, hurry: threading.Event) -> None:
        """Wait for the end, then kill the process and what is left of its descendants.

        Args:
            grace: seconds to wait at most.
            hurry: ends the wait when it is set.
        """
        deadline = time.monotonic() + grace
        while self.running and not hurry.is_set() and time.monotonic() < deadline:
            time.sleep(POLL_S / 4)
        if self.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._descendants += psutil.Process(self.pid).children(recursive=True)
            self._popen.kill()
            self._popen.wait()
        alive = _wait_gone(self._descendants, min(grace, ORPHAN_S))
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # whatever still carries the session we made
        _wait_gone(alive, 3.0)


def _wait_gone(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait for processes that are not our children; those that are left after ``timeout`` seconds.

    A zombie counts as gone: its new parent, which only has to collect it, may take its time.
    """
    deadline = time.monotonic() + timeout
    while alive := [process for process in processes if not _gone(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S / 4)
    return alive


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


class ProcessGroup:
    """The processes of one demonstration; leaving the block stops them, last started first.

    Args:
        out: output folder of the demonstration.
        environment: variables that every process gets.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, out: Path, environment: Mapping[str, str] | None = None, grace: float = 10.0) -> None:
        self._out = out
        self._environment = dict(environment or {})
        self._grace = grace
        self._stages: list[list[ManagedProcess]] = []
        self._servers: list[ManagedProcess] = []

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def server(self, name: str, arguments: Sequence[str], *, together: bool = False) -> ManagedProcess:
        """Start a process that stays.

        Args:
            name: what people call it.
            arguments: after the Python executable; ``--ready-file`` is added.
            together: stop it at the same time as the server started before it.
        """
        ready = self._out / "ready" / f"{name.replace(' ', '-')}.json"
        ready.parent.mkdir(parents=True, exist_ok=True)
        process = self._add(name, [*arguments, "--ready-file", str(ready)], ready, together)
        self._servers.append(process)
        return process

    def command(self, name: str, arguments: Sequence[str], timeout: float = 120.0) -> None:
        """Run a command to its end.

        Raises:
            ProcessError: it failed; quotes the end of its output.
        """
        self._add(name, arguments, None, False).wait(timeout)

    def _add(self, name: str, arguments: Sequence[str], ready: Path | None, together: bool) -> ManagedProcess:
        process = ManagedProcess(name, arguments, self._out, ready_file=ready, environment=self._environment)
        if together and self._stages:
            self._stages[-1].append(process)
        else:
            self._stages.append([process])
        return process

    def check(self) -> None:
        """Raises:
        ProcessError: a server has ended although it should run.
        """
        for process in self._servers:
            process.check()

    def stop(self) -> None:
        """Stop everything that was started; a further Ctrl-C meanwhile only ends the waiting."""
        with _interrupts_deferred() as hurry:
            self._servers = []
            while self._stages:
                stage = self._stages.pop()
                for process in stage:
                    process.terminate()
                for process in stage:
                    process.finish(self._grace, hurry)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[threading.Event]:
    """While the block runs, SIGINT and SIGTERM set the event and raise nothing."""
    hurry = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield hurry
        return
    before = {number: signal.signal(number, lambda *_: hurry.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield hurry
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
