"""What a courier does while the federation job runs: four loops between hub and site server.

- *beats* tell the hub every second that this site is alive and what it is doing;
- *requests* long-polls the site server and takes what annotators ask to the hub;
- *work* hands trainings and offers to the site server and their results to the hub;
- *status* stores the newest state of the round at the site.

Shared between them, under one lock: the current task, the finished task's result (kept, so that a
lost answer is repeated and not computed again) and the newest status. No loop holds the lock
during a call. The site server may restart at any time: calls are repeated for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fed_backend.errors import FedSegError
from fed_backend.flare.messages import BEAT_S, Message
from fed_backend.flare.site_client import SiteClient, SiteRefused, SiteUnreachable

__all__ = ["CourierSession", "Hub"]

logger = logging.getLogger(__name__)

_POLL_S = 20.0
_RETRY_S = 1.0
SITE_PATIENCE_S = 20.0
"""How long a training or an offer is repeated while the site server cannot be reached."""


class Hub(Protocol):
    """The courier's end of the line to the hub."""

    def ask(self, message: Message) -> dict[str, Any] | None:
        """Send a message under this site's identity; the answer, or ``None`` if there is none in time."""
        ...


@dataclass
class _Job:
    task: str
    topic: str
    body: bytes
    until: float


class CourierSession:
    """Carries rounds between the hub and one site server.

    Args:
        site: client of the site server.
        hub: the line to the hub.
        plan_sha256: the plan in this site's kit.
        on_ready: called once hub and site have both answered.
    """

    def __init__(self, site: SiteClient, hub: Hub, plan_sha256: str, on_ready: Callable[[], None]) -> None:
        self._site = site
        self._hub = hub
        self._plan_sha256 = plan_sha256
        self._on_ready = on_ready
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._job: _Job | None = None
        self._done: Message | None = None
        self._stage = "idle"
        self._cancelled = ""
        self._status: dict[str, Any] | None = None
        self._answered: dict[str, bool] = {"hub": False, "site": False}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the loops."""
        for loop in (self._beat, self._poll, self._work_loop, self._store_status):
            thread = threading.Thread(target=loop, name=loop.__name__.strip("_"), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Ask the loops to end; they are daemons, so a blocked call does not hold the process."""
        self._stop.set()
        with self._work:
            self._work.notify_all()

    def receive(self, message: Message) -> dict[str, Any]:
        """Take a message of the hub; returns at once."""
        task = str(message.fields.get("task", ""))
        with self._work:
            if message.topic == "status":
                self._status = dict(message.fields.get("round") or {})
            elif message.topic == "cancel":
                self._cancelled = task
            elif message.topic in {"train", "offer"}:
                self._take(task, message)
            else:
                return {"ok": False}
            self._work.notify_all()
        return {"ok": True}

    def _take(self, task: str, message: Message) -> None:
        if self._job and self._job.task == task:
            return
        if self._done and self._done.fields["task"] == task:
            return  # the work loop repeats the kept result until the hub has it
        until = time.monotonic() + float(message.fields.get("deadline_s", 0.0))
        self._job, self._done, self._cancelled = _Job(task, message.topic, message.body, until), None, ""

    # --- beats -----------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._stop.is_set():
            fields = {"plan_sha256": self._plan_sha256, **self._doing()}
            answer = self._hub.ask(Message("beat", fields))
            if answer is not None and answer.get("ok"):
                self._ready("hub")
            elif answer is not None:
                logger.error("the hub refuses this courier: %s", answer.get("detail"))
            self._stop.wait(BEAT_S)

    def _doing(self) -> dict[str, Any]:
        with self._lock:
            job, stage, done = self._job, self._stage, self._done
        task = job.task if job else str(done.fields["task"]) if done else ""
        progress = 1.0 if stage == "sending" else 0.0
        if job and stage == "training":
            try:
                progress = self._site.progress()
            except FedSegError:
                progress = 0.0
        return {"task": task, "stage": stage, "progress": progress}

    def _ready(self, side: str) -> None:
        with self._lock:
            before = all(self._answered.values())
            self._answered[side] = True
            now = all(self._answered.values())
        if now and not before:
            logger.info("hub and site server both answer")
            self._on_ready()

    # --- requests --------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                reply = self._site.wait_for_requests(_POLL_S if all(self._answered.values()) else 0.0)
                self._ready("site")
                for request in reply.get("requests", []):
                    self._forward(request, reply.get("plan_sha256"))
                if not all(self._answered.values()):
                    self._stop.wait(_RETRY_S)
            except FedSegError as error:
                logger.warning("%s", error)
                self._stop.wait(_RETRY_S)
            except Exception:  # an unforeseen reply must not end the loop
                logger.exception("polling the site server failed")
                self._stop.wait(_RETRY_S)

    def _forward(self, request: dict[str, Any], plan_sha256: object) -> None:
        if plan_sha256 != self._plan_sha256:
            verdict: dict[str, Any] | None = {
                "accepted": False,
                "status": 409,
                "detail": "the site server and its courier hold different plans",
                "hint": "start the site server with --plan and the plan.json of this courier's kit",
            }
        else:
            fields = {key: request.get(key) for key in ("id", "action", "method", "rounds")}
            verdict = self._hub.ask(Message("request", fields))
        unreachable = {
            "accepted": False,
            "status": 503,
            "detail": "the hub does not answer",
            "hint": "try again in a moment; if it lasts, ask the hub's administrator",
        }
        self._site.answer_request(str(request["id"]), verdict or unreachable)

    # --- work ------------------------------------------------------------------------------

    def _work_loop(self) -> None:
        while not self._stop.is_set():
            with self._work:
                self._work.wait_for(lambda: self._stop.is_set() or self._job or self._done, timeout=_POLL_S)
                job, done = self._job, self._done
            if job:
                result = self._run(job)
                with self._work:
                    if self._job is job:
                        self._job, self._done, self._stage = None, result, "sending"
            elif done:
                self._deliver(done)

    def _run(self, job: _Job) -> Message:
        with self._lock:
            self._stage = "training" if job.topic == "train" else "gating"
        begun = time.monotonic()
        fields: dict[str, Any] = {"task": job.task, "ok": True, "reason": "", "report": {}}
        body = b""
        try:
            body, fields["report"] = self._ask_site(job)
        except FedSegError as error:
            logger.warning("%s: %s", job.task, error)
            fields |= {"ok": False, "reason": str(error)}
        except Exception as error:  # reported to the hub instead of ending the loop
            logger.exception("%s failed", job.task)
            fields |= {"ok": False, "reason": f"the courier failed: {type(error).__name__}"}
        fields["seconds"] = round(time.monotonic() - begun, 3)
        return Message("result", fields, body)

    def _ask_site(self, job: _Job) -> tuple[bytes, dict[str, Any]]:
        patience = time.monotonic() + SITE_PATIENCE_S
        while True:
            left = max(1.0, job.until - time.monotonic())
            begun = time.monotonic()
            try:
                if job.topic == "train":
                    return self._site.train(job.body, left), {}
                return b"", self._site.offer(job.body, left)
            except SiteUnreachable:
                now = time.monotonic()
                if now - begun > SITE_PATIENCE_S:  # it worked for a while, then went away: a fresh wait for it
                    patience = now + SITE_PATIENCE_S
                if self._stop.is_set() or self._cancelled == job.task or now > min(patience, job.until):
                    raise
                self._stop.wait(_RETRY_S)
            except SiteRefused:
                raise

    def _deliver(self, result: Message) -> None:
        answer = self._hub.ask(result)
        with self._work:
            if answer is None and self._done is result and self._cancelled != result.fields["task"]:
                pass
            elif self._done is result:
                self._done, self._stage = None, "idle"
        if answer is None:
            self._stop.wait(_RETRY_S)

    # --- status ----------------------------------------------------------------------------

    def _store_status(self) -> None:
        while not self._stop.is_set():
            with self._work:
                self._work.wait_for(lambda: self._stop.is_set() or self._status is not None, timeout=_POLL_S)
                status, self._status = self._status, None
            if not status:
                continue
            try:
                self._site.post_status(status)
            except SiteUnreachable:
                with self._lock:
                    self._status = self._status or status  # unless a newer one came meanwhile
                self._stop.wait(_RETRY_S)
            except FedSegError as error:
                logger.warning("the site server did not store the round's state: %s", error)
