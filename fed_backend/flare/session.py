"""What a courier does while the federation job runs: loops between hub and site server.

- *beats* tell the hub every second that this site is alive and what it is doing;
- *requests* long-polls the site server and takes what annotators ask to the hub;
- *status* stores the newest state of the round at the site;
- each task (a training, an offer) has a thread of its own: it asks the site server, then repeats
  the result until the hub has it or has given the site another task. An offer that came as a file is
  kept until the next one: the training after it starts from the same tensors, which the hub need not
  send again.

Shared between them, under one lock: the current task with its stage, the newest status, and when
the hub last answered. No thread holds the lock during a call. The site server may restart at any
time: calls are repeated for a while, with the same bytes, so that work done is not done again.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fed_backend.errors import FedSegError
from fed_backend.flare.messages import BEAT_S, Message, Verdict
from fed_backend.flare.site_client import SiteClient, SiteUnreachable
from fed_backend.secure.site import SecureSite
from fed_backend.secure.wire import STEPS
from fed_backend.tensor_file import Data, joined, whole

__all__ = ["SITE_PATIENCE_S", "CourierSession", "Hub"]

logger = logging.getLogger(__name__)

SITE_PATIENCE_S = 20.0
"""How long a training or an offer is repeated while the site server cannot be reached."""

_POLL_S = 5.0  # short: a poll whose courier died swallows requests until it ends
_RETRY_S = 1.0
_HUB_SILENT_S = 5.0  # without an answer for this long, requests are left for the session that comes next
_VERDICT_S = 10.0


class Hub(Protocol):
    """The courier's end of the line to the hub."""

    def ask(self, message: Message) -> dict[str, Any] | None:
        """Send a message under this site's identity; the answer, or ``None`` if there is none in time."""
        ...


@dataclass
class _Task:
    id: str
    topic: str
    body: Data
    until: float
    stage: str
    update: Path
    attempt: int = 0
    sha256: str = ""
    rest_of: str = ""
    cancelled: bool = False


class CourierSession:
    """Carries rounds between the hub and one site server.

    Args:
        site: client of the site server.
        hub: the line to the hub.
        plan_sha256: the plan in this site's kit.
        on_ready: called once, when hub and site server have both answered.
        folder: for payloads on their way; emptied now.
        secure: this site's end of secure sums, where the plan asks for them.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        site: SiteClient,
        hub: Hub,
        plan_sha256: str,
        on_ready: Callable[[], None],
        folder: Path,
        secure: SecureSite | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self._secure = secure
        self._tasks = 0
        self._site = site
        self._hub = hub
        self._plan_sha256 = plan_sha256
        self._on_ready = on_ready
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._status_came = threading.Condition(self._lock)
        self._task: _Task | None = None
        self._held: tuple[str, Path] | None = None  # the last offer: its SHA-256, and the file
        self._status: dict[str, Any] | None = None
        self._hub_answered: float | None = None
        self._ready = False

    def start(self) -> None:
        """Start the loops."""
        for loop in (self._beat, self._poll, self._store_status):
            self._spawn(loop, loop.__name__.strip("_"))

    def stop(self) -> None:
        """Ask the loops to end; they are daemons, so a blocked call does not hold the process."""
        self._stop.set()
        with self._status_came:
            self._status_came.notify_all()

    @staticmethod
    def _spawn(target: Callable[[], None], name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def receive(self, message: Message) -> dict[str, Any]:
        """Take a message of the hub; returns at once."""
        with self._status_came:
            if message.topic == "status":
                self._status = dict(message.fields.get("round") or {})
                self._status_came.notify_all()
            elif message.topic == "cancel":
                if self._task and self._task.id == message.fields.get("task"):
                    self._task.cancelled = True
                    self._task = None
            elif message.topic in {"train", "offer"} or (self._secure and message.topic in STEPS):
                self._take(message)
            else:
                return {"ok": False}
        return {"ok": True}

    def _take(self, message: Message) -> None:
        """Begin a task, unless it is the current one already."""
        task_id = str(message.fields.get("task", ""))
        if self._task and self._task.id == task_id:
            return
        if self._task:
            self._task.cancelled = True
        until = self._clock() + float(message.fields.get("deadline_s", 0.0))
        stage = {"train": "training", "offer": "gating"}.get(message.topic, "sending")
        attempt = message.fields.get("attempt")
        self._tasks += 1
        body, file = message.body, self._folder / f"{self._tasks}.{message.topic}"
        if isinstance(body, Path):  # it is gone once this message is answered
            body = body.replace(file)
        task = self._task = _Task(task_id, message.topic, body, until, stage, file.with_suffix(".update"))
        task.attempt = attempt if isinstance(attempt, int) else 0
        task.sha256 = message.sha256 or str(message.fields.get("sha256", ""))
        task.rest_of = str(message.fields.get("rest_of", ""))
        self._spawn(lambda: self._work(task), message.topic)

    # --- beats -----------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._stop.is_set():
            answer = self._hub.ask(Message("beat", {"plan_sha256": self._plan_sha256, **self._doing()}))
            if answer is not None:
                with self._lock:
                    self._hub_answered = self._clock()
                if answer.get("gone"):
                    self.stop()
                elif not answer.get("ok"):
                    logger.error("the hub refuses this courier: %s", answer.get("detail"))
            self._stop.wait(BEAT_S)

    def _doing(self) -> dict[str, Any]:
        with self._lock:
            task = self._task
            stage = task.stage if task else "idle"
            holds = self._held[0] if self._held else ""
        progress = 1.0 if stage == "sending" else 0.0
        if stage == "training":
            try:
                progress = self._site.progress()
            except FedSegError:
                progress = 0.0
        return {"task": task.id if task else "", "stage": stage, "progress": progress, "holds": holds}

    # --- requests --------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stop.is_set():
            if not self._hub_answers():
                self._stop.wait(BEAT_S / 4)
                continue
            try:
                # The first poll only asks whether the site server is there.
                reply = self._site.wait_for_requests(_POLL_S if self._ready else 0.0)
                self._announce()
                for request in reply.get("requests", []):
                    self._forward(request, reply.get("plan_sha256"))
            except FedSegError as error:
                logger.warning("%s", error)
                self._stop.wait(_RETRY_S)
            except Exception:  # an unforeseen reply must not end the loop
                logger.exception("polling the site server failed")
                self._stop.wait(_RETRY_S)

    def _hub_answers(self) -> bool:
        with self._lock:
            return self._hub_answered is not None and self._clock() - self._hub_answered < _HUB_SILENT_S

    def _announce(self) -> None:
        if not self._ready:
            self._ready = True
            logger.info("hub and site server both answer")
            self._on_ready()

    def _forward(self, request: dict[str, Any], plan_sha256: object) -> None:
        if plan_sha256 != self._plan_sha256:
            verdict: dict[str, Any] | None = Verdict(
                409,
                "the site server and its courier hold different plans",
                "start the site server with --plan and the plan.json of this courier's kit",
            ).as_json()
        else:
            fields = {key: request.get(key) for key in ("id", "action", "method", "rounds")}
            verdict = self._verdict(Message("request", fields))
        if verdict is not None:
            self._site.answer_request(str(request["id"]), verdict)

    def _verdict(self, message: Message) -> dict[str, Any] | None:
        """The hub's verdict; asking twice is harmless. ``None`` when this session ends meanwhile."""
        until = self._clock() + _VERDICT_S
        while not self._stop.is_set():
            answer = self._hub.ask(message)
            if answer is not None and not answer.get("gone"):
                return answer
            if self._clock() > until:
                hint = "try again in a moment; if it lasts, ask the hub's administrator"
                return Verdict(503, "the hub does not answer", hint).as_json()
            self._stop.wait(_RETRY_S)
        return None

    # --- tasks -----------------------------------------------------------------------------

    def _work(self, task: _Task) -> None:
        try:
            if task.rest_of and not self._complete(task):
                return  # as if it had not come: the hub asks again, and sends all of it
            result = self._result(task)
            with self._lock:
                task.stage = "sending"
            while not self._over(task):
                if self._hub.ask(result) is not None:
                    break
                self._stop.wait(_RETRY_S)
        finally:
            with self._lock:
                if self._task is task:
                    self._task = None
            held = self._held
            for used in (task.body, task.update):
                if isinstance(used, Path) and (held is None or used != held[1]):
                    used.unlink(missing_ok=True)

    def _complete(self, task: _Task) -> bool:
        """Put a start together from what came and the tensors that are here; whether that worked."""
        held, path = self._held, task.update.with_suffix(".start")
        try:
            found = joined(whole(task.body), held[1], path) if held and held[0] == task.rest_of else ""
        except (FedSegError, OSError) as error:
            logger.warning("%s: the aggregate that it starts from cannot be read: %s", task.id, error)
            found = ""
        if found and found == task.sha256:
            task.body = path
            return True
        path.unlink(missing_ok=True)
        if self._held is held:
            self._hold(None)
        logger.info("%s: the aggregate that it starts from is not here any more", task.id)
        return False

    def _hold(self, offer: tuple[str, Path] | None) -> None:
        """Keep an offer, in the place of the one before it."""
        with self._lock:
            before, self._held = self._held, offer
        if before and before != offer:
            before[1].unlink(missing_ok=True)

    def _over(self, task: _Task) -> bool:
        with self._lock:
            return task.cancelled or self._stop.is_set()

    def _result(self, task: _Task) -> Message:
        begun = self._clock()
        fields: dict[str, Any] = {"task": task.id, "ok": True, "reason": "", "report": {}}
        body: Data = b""
        try:
            body, fields["report"] = self._ask_site(task)
        except FedSegError as error:
            logger.warning("%s: %s", task.id, error)
            fields |= {"ok": False, "reason": str(error)}
        except Exception as error:  # told to the hub instead of ending the thread silently
            logger.exception("%s failed", task.id)
            fields |= {"ok": False, "reason": f"the courier failed: {type(error).__name__}"}
        fields["seconds"] = round(self._clock() - begun, 3)
        if task.topic == "offer" and isinstance(task.body, Path) and task.sha256:
            self._hold((task.sha256, task.body))
            fields["holds"] = task.sha256
        return Message("result", fields, body)

    def _ask_site(self, task: _Task) -> tuple[Data, dict[str, Any]]:
        give_up = self._clock() + SITE_PATIENCE_S
        while True:
            begun = self._clock()
            left = max(1.0, task.until - begun)
            try:
                if task.topic == "train":
                    self._site.train(task.body, left, task.update)
                    return self._leaving(task), {}
                if self._secure and task.topic in STEPS:
                    return self._step_of_sum(self._secure, task), {}
                return b"", self._site.offer(task.body, left)
            except SiteUnreachable:
                now = self._clock()
                if now - begun > _RETRY_S:  # it worked on it, then went away: it may come back
                    give_up = now + SITE_PATIENCE_S
                if self._over(task) or now > min(give_up, task.until):
                    raise
                self._stop.wait(_RETRY_S)

    def _leaving(self, task: _Task) -> Data:
        """What goes to the hub after a training: the update, or the keys that it will be masked with."""
        return self._secure.begin(task.body, task.update, task.attempt) if self._secure else task.update

    @staticmethod
    def _step_of_sum(secure: SecureSite, task: _Task) -> Data:
        answer = secure.answer(task.topic, whole(task.body))
        if task.topic != "mask":
            return answer
        task.update.write_bytes(answer)  # a large one travels as a file
        return task.update

    # --- status ----------------------------------------------------------------------------

    def _store_status(self) -> None:
        while not self._stop.is_set():
            with self._status_came:
                self._status_came.wait_for(lambda: self._stop.is_set() or self._status is not None)
                status, self._status = self._status, None
            if not status:
                continue
            try:
                self._site.post_status(status)
            except SiteUnreachable:
                with self._lock:
                    self._status = self._status or status  # unless a newer one came meanwhile
                self._stop.wait(_RETRY_S)
            except Exception as error:  # a status that the site refuses must not stop the next one
                logger.warning("the site server did not store the round's state: %s", error)
