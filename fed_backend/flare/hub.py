"""``fedseg hub start``: the FLARE server, and the supervisor that keeps one federation job running in it.

FLARE gives a job the clients that are connected when it starts, and resumes nothing by itself. So
the supervisor submits the job again after an abort, a lost job process or a restarted server, and
when a member (re)joined that the running job does not reach; the coordinator goes on from its
checkpoint. Members that `fedseg federation invite` and `revoke` add and remove while the hub runs are
taken up within seconds: FLARE itself admits whom the authority signed, so the supervisor tells it
whom to refuse. To replace a healthy job it first lets it drain: the job ends between two exchanges.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from fed_backend.errors import FederationError
from fed_backend.flare.engine import ENVIRONMENT, Administration, Overview, place_storage, server_command, write_job
from fed_backend.flare.kit import DRAIN, JOB_STATE, Kit, hold, remove_jobs, write_json_atomic
from fed_backend.flare.processes import Child, stop_tree

__all__ = ["Hub"]

logger = logging.getLogger(__name__)

_STEP_S = 0.5
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 1.0, 60.0
_STEADY_S = 60.0
_ASK_S = 3.0
_UNRESPONSIVE_S = 300.0  # it says nothing while it aggregates, which for a thousand sites takes half a minute
_AUDIT_BYTES = 20_000_000
_RENEWED = "is renewed"
_ENDED = ("FINISHED", "FAILED", "ABANDONED")


@dataclass(frozen=True)
class Patience:
    """Seconds that the supervisor waits.

    Attributes:
        gather_s: for all members, once the first is connected, before a job is submitted without them.
        rejoin_s: a connected member that the job does not hear for this long makes a new job.
        start_s: for a submitted job to come up before it is aborted and submitted anew.
    """

    gather_s: float = 15.0
    rejoin_s: float = 4.0
    start_s: float = 60.0


class Hub:
    """The supervisor.

    Args:
        kit: the hub's kit.
        ready_file: gets ``{"pid", "host", "port", "job"}`` once the federation job runs.
        say: prints a line for the person at the terminal.
    """

    def __init__(
        self, kit: Kit, ready_file: Path | None, say: Callable[[str], None], patience: Patience | None = None
    ) -> None:
        self._kit = kit
        self._ready_file = ready_file
        self._say = say
        self._patience = patience or Patience()
        self._server: Child | None = None
        self._server_backoff, self._job_backoff = _FIRST_BACKOFF_S, 0.0
        self._not_before = 0.0
        self._admin: Administration | None = None
        self._job = ""
        self._submitted_at = self._asked_at = 0.0
        self._ended: list[str] = []
        self._announced = ""
        self._join_backoff = 0.0
        self._first_seen: float | None = None
        self._unheard: dict[str, float] = {}
        self._allowed: set[str] = set()
        self._last_error = ""

    def run(self) -> None:
        """Supervise until :class:`~fed_backend.flare.processes.Stopped`.

        Raises:
            FederationError: the port is in use, or a hub runs from this kit.
        """
        with hold(self._kit.run / "lock", "a hub from this kit"):
            check_port(self._kit)
            place_storage(self._kit)
            self._clean()
            if self._ready_file:
                self._ready_file.unlink(missing_ok=True)
            try:
                while True:
                    self._step()
                    time.sleep(_STEP_S)
            finally:
                if self._server:
                    self._server.stop()
                self._close_admin()
                self._clean()

    def _clean(self) -> None:
        for name in (DRAIN, JOB_STATE):
            (self._kit.run / name).unlink(missing_ok=True)

    def _step(self) -> None:
        if (members := self._kit.members()) != self._kit.sites:
            self._say(f"members are now: {', '.join(members) or 'none'}")
            self._kit = replace(self._kit, sites=members)
            self._asked_at = 0.0
        try:
            if not self._server_runs() or (self._admin is None and not listens(self._kit)):
                return
            if self._admin is None:
                self._admin = Administration(self._kit)
            self._attend(self._admin)
            self._last_error = ""
        except FederationError as error:
            self._complain(str(error))
            self._close_admin()
        except OSError as error:  # a full disk must not leave the job without its supervisor
            self._complain(f"the hub cannot go on yet, and tries again: {error.strerror or error}")

    def _complain(self, trouble: str) -> None:
        """Say what is wrong once, however often it is tried again."""
        if trouble != self._last_error:
            self._say(trouble)
        self._last_error = trouble

    # --- the server ------------------------------------------------------------------------

    def _server_runs(self) -> bool:
        if self._server and self._server.exit_code is None:
            return True
        now = time.monotonic()
        if self._server:
            self._say(f"the hub's server ended with code {self._server.exit_code}; it is started again")
            self._server.stop()
            self._server = None
            self._forget_job()
            self._ended, self._first_seen = [], None
            self._close_admin()
            self._not_before = now + self._server_backoff
            self._server_backoff = min(2 * self._server_backoff, _MAX_BACKOFF_S)
        if now < self._not_before:
            return False
        remove_jobs(self._kit)
        log = self._kit.run / "server.log"
        self._server = Child(server_command(self._kit), cwd=self._kit.folder, log=log, environment=ENVIRONMENT)
        return True

    def _close_admin(self) -> None:
        if self._admin:
            self._admin.close()
            self._admin = None

    # --- the job ---------------------------------------------------------------------------

    def _attend(self, admin: Administration) -> None:
        now = time.monotonic()
        state = self._job_state()
        if self._job and self._announced == self._job and self._job_runs(state):
            # FLARE writes every question into its audit log: ask seldom while all is well.
            if now - self._asked_at < _ASK_S:
                return
            self._trim_audit()
        self._asked_at = now
        overview = admin.overview()
        self._guard(admin, overview)
        if not self._job:
            if self._should_submit(overview, now):
                self._submit(admin)
        elif over := self._over(admin, state, now):
            self._replace(over, now)
        elif state is not None:
            self._bury(admin)
            self._announce(overview)
            if now - self._submitted_at > _STEADY_S:
                self._server_backoff, self._job_backoff, self._join_backoff = _FIRST_BACKOFF_S, 0.0, 0.0
            if joined := self._joined(overview, set(state["living"]), now):
                self._drain(joined)

    def _guard(self, admin: Administration, overview: Overview) -> None:
        """Keep FLARE's own list of whom it admits in step with the members."""
        for site in sorted(set(self._kit.sites) - self._allowed):
            admin.let_in(site, True)
        for site in sorted(overview.clients.keys() - set(self._kit.sites)):
            admin.let_in(site, False)
            self._say(f"{site} is connected and is no member: it is refused from now on")
        self._allowed = set(self._kit.sites)

    def _job_runs(self, state: dict[str, Any] | None) -> bool:
        return state is not None and not state.get("drained") and _runs(int(state["pid"]))

    def _replace(self, over: str, now: float) -> None:
        """Let go of a job that is over; the next one is submitted at once, or soon if it failed often."""
        self._say(f"the federation job {over}; it is submitted again")
        self._ended.append(self._job)
        self._forget_job()
        drained = over == _RENEWED
        self._not_before = now if drained else now + self._job_backoff
        self._job_backoff = 0.0 if drained else min(max(1.0, 2 * self._job_backoff), _MAX_BACKOFF_S)

    def _over(self, admin: Administration, state: dict[str, Any] | None, now: float) -> str:
        """Why the job has to be replaced; empty while it is well.

        A job that ended takes FLARE many seconds to report as finished: its process is looked at.
        """
        if state is None:
            if now - self._submitted_at > self._patience.start_s:
                return "did not come up"
        elif state.get("drained"):
            return _RENEWED
        elif not _runs(int(state["pid"])):
            return "lost its process"
        elif time.time() - (self._kit.run / JOB_STATE).stat().st_mtime > _UNRESPONSIVE_S:
            stop_tree(int(state["pid"]), grace_s=0)  # it would hold the checkpoint against the next one
            return "did not respond"
        return "ended" if admin.status(self._job).startswith(_ENDED) else ""

    def _bury(self, admin: Administration) -> None:
        """Make sure that what is left of replaced jobs ends at the sites too."""
        while self._ended:
            admin.abort(self._ended.pop())

    def _should_submit(self, overview: Overview, now: float) -> bool:
        members = set(self._kit.sites) & overview.clients.keys()
        if not members:
            self._first_seen = None
            return False
        if self._first_seen is None:
            self._first_seen = now
        waited = now - self._first_seen >= self._patience.gather_s
        return now >= self._not_before and (waited or len(members) == len(self._kit.sites))

    def _submit(self, admin: Administration) -> None:
        self._clean()
        folder = self._kit.run / "fedseg"
        shutil.rmtree(folder, ignore_errors=True)
        self._job = admin.submit(write_job(folder))
        self._submitted_at = time.monotonic()
        self._unheard = {}
        logger.info("submitted job %s", self._job)

    def _trim_audit(self) -> None:
        """Keep the newest 20 to 40 MB of FLARE's audit log, which grows with every question asked."""
        log = self._kit.folder / "audit.log"
        if log.exists() and log.stat().st_size > _AUDIT_BYTES:
            shutil.copyfile(log, log.with_suffix(".1.log"))
            os.truncate(log, 0)  # FLARE appends to the open file

    def _forget_job(self) -> None:
        self._job = ""
        self._clean()

    def _job_state(self) -> dict[str, Any] | None:
        """What the job's process last wrote, if it is this job's."""
        try:
            state = json.loads((self._kit.run / JOB_STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return state if state.get("job") == self._job else None

    def _joined(self, overview: Overview, living: set[str], now: float) -> list[str]:
        """Members that FLARE hears but the running job does not, for long enough.

        A client that just died is connected in FLARE's eyes for a while, so its last sign counts.
        """
        wall = time.time()
        self._unheard = {site: since for site, since in self._unheard.items() if site in self._kit.sites}
        for site in self._kit.sites:
            fresh = wall - overview.clients.get(site, 0.0) < self._patience.rejoin_s
            if not fresh or site in living:
                self._unheard.pop(site, None)
            else:
                self._unheard.setdefault(site, now)
        grace = max(self._patience.rejoin_s, self._join_backoff)
        return sorted(site for site, since in self._unheard.items() if now - since >= grace)

    def _drain(self, joined: list[str]) -> None:
        if not (self._kit.run / DRAIN).exists():
            self._say(f"{', '.join(joined)} joined: the federation job is renewed between two rounds")
            (self._kit.run / DRAIN).touch()
            # A member whose own job process cannot start must not renew everybody's job for ever.
            self._join_backoff = min(max(1.0, 2 * self._join_backoff), _MAX_BACKOFF_S)

    def _announce(self, overview: Overview) -> None:
        if self._announced == self._job:
            return
        if self._ready_file:
            write_json_atomic(
                self._ready_file,
                {"pid": os.getpid(), "host": self._kit.host, "port": self._kit.port, "job": self._job},
            )
        self._announced = self._job
        members = sorted(set(self._kit.sites) & overview.clients.keys())
        self._say(f"the federation job runs with {len(members)} of {len(self._kit.sites)} sites: {', '.join(members)}")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_port(kit: Kit) -> None:
    """Refuse to start on a port that is taken.

    Raises:
        FederationError: another program listens there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", kit.port))
        except OSError:
            raise FederationError(
                f"port {kit.port} is in use", "stop the program that uses it; the port is part of every site's kit"
            ) from None


def listens(kit: Kit) -> bool:
    """Whether something accepts connections at the hub's port."""
    try:
        with socket.create_connection((kit.host, kit.port), timeout=1.0):
            return True
    except OSError:
        return False
