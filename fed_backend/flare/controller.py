"""The hub's job process: FLARE's controller around the :class:`~fed_backend.flare.coordinator.Coordinator`.

Threads: FLARE's callback threads bring messages in, one outbox thread per site sends, and
``control_flow`` ticks. All of them take one lock around the coordinator; no one holds it while
sending, and an outbox's own lock is only taken inside, never around, the coordinator's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from nvflare.apis.impl.controller import Controller

from fed_backend.errors import plain
from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.child import watch_parent
from fed_backend.flare.coordinator import Coordinator
from fed_backend.flare.engine import Link
from fed_backend.flare.kit import DRAIN, JOB_STATE, Kit, hold, load_kit, write_json_atomic
from fed_backend.flare.messages import Message
from fed_backend.flare.pieces import Spool
from fed_backend.gossip.relay import Switchboard
from fed_backend.methods import GOSSIP
from fed_backend.secure.roster import root_of

__all__ = ["RoundsController", "report"]

logger = logging.getLogger(__name__)

_TICK_S = 0.1  # the longest pause; a message ends it
_REPORT_S = 1.0
_LOCK_WAIT_S = 60.0


class RoundsController(Controller):  # type: ignore[misc]  # FLARE has no types
    """One long-lived job: waits for requests of sites and runs their rounds."""

    def __init__(self) -> None:
        super().__init__(task_check_period=1.0)

    def start_controller(self, fl_ctx: Any) -> None:
        """Nothing to prepare before ``control_flow``."""

    def stop_controller(self, fl_ctx: Any) -> None:
        """Nothing to undo: the checkpoint is always current."""

    def process_result_of_unknown_task(
        self, client: Any, task_name: str, client_task_id: str, result: Any, fl_ctx: Any
    ) -> None:
        """No tasks are sent: rounds travel as messages."""

    def control_flow(self, abort_signal: Any, fl_ctx: Any) -> None:
        """Run until the job is aborted or drained."""
        watch_parent(lambda: os._exit(1))  # an orphan must not hold the checkpoint
        kit = load_kit(fl_ctx.get_engine().get_workspace().get_root_dir(), "hub")
        state = kit.folder / "state"
        state.mkdir(mode=0o700, exist_ok=True)

        def aborted() -> bool:
            return bool(abort_signal.triggered)

        # The job before this one may still be ending.
        with hold(state / "lock", "another federation job", wait_s=_LOCK_WAIT_S, give_up=aborted):
            self._serve(kit, Link(fl_ctx), fl_ctx.get_job_id(), aborted)

    def _serve(self, kit: Kit, link: Link, job_id: str, aborted: Callable[[], bool]) -> None:
        coordinator: Coordinator | Switchboard
        spool: Spool | None = None
        if kit.plan.method.name in GOSSIP:
            coordinator = Switchboard(kit.plan.sha256, kit.members())
        else:
            store = CheckpointStore(kit.folder / "state")
            root = root_of(kit) if kit.plan.secure else None
            coordinator = Coordinator(kit.plan, kit.members(), Outbox(link), store, start=kit.start(), root=root)
            spool = Spool(kit.folder / "state" / "incoming", kit.plan.max_payload_bytes, coordinator.has)
        lock, wake = threading.Lock(), threading.Event()

        def receive(site: str, message: Message) -> dict[str, Any]:
            with lock:
                answer = coordinator.receive(site, message)
            if message.topic != "beat":
                wake.set()
            return answer

        link.listen(receive, spool=spool)
        reported, told, members = 0.0, dict[str, Any](), kit.members()
        while not aborted():
            coordinator.draining = (kit.run / DRAIN).exists()
            now_members = kit.members()
            with lock:
                if now_members != members:
                    coordinator.admit(now_members)
                    members = now_members
                if isinstance(coordinator, Coordinator):
                    _forget(coordinator, kit)
                coordinator.tick()
            state = {"living": coordinator.living(), "drained": coordinator.drained}
            if state != told or time.monotonic() - reported >= _REPORT_S:
                reported, told = time.monotonic(), state
                report(kit, {"job": job_id, "pid": os.getpid(), **state})
            if coordinator.drained:
                logger.info("drained: another job takes over")
                return
            wake.wait(_TICK_S)
            wake.clear()


def report(kit: Kit, state: dict[str, Any]) -> None:
    """Tell the supervisor; a full disk must not end the job, and it is told again a second later."""
    try:
        write_json_atomic(kit.run / JOB_STATE, state)
    except OSError as error:
        logger.error("the state of the job cannot be written: %s", plain(error))


def _forget(coordinator: Coordinator, kit: Kit) -> None:
    """What the administrator asked to be left out of rounds to come, before the next one begins."""
    for site, asked in kit.forgetting().items():
        try:
            coordinator.forget(site, asked)
        except OSError:  # a full disk: asked again at the next tick
            logger.exception("what descends from %s cannot be taken back yet", site)


class Outbox:
    """Messages waiting for each site, sent by one thread per site."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._queues: dict[str, OrderedDict[str, Message]] = {}
        self._sending: dict[str, Message] = {}
        self._wake: dict[str, threading.Event] = {}

    def post(self, site: str, message: Message) -> None:
        """Queue a message; see :class:`~fed_backend.flare.messages.Transport`."""
        with self._lock:
            current = self._sending.get(site)
            task = message.fields.get("task")
            if current and task and current.topic == message.topic and current.fields.get("task") == task:
                return
            if site not in self._queues:
                self._queues[site], self._wake[site] = OrderedDict(), threading.Event()
                threading.Thread(target=self._send_all, args=(site,), name=f"outbox-{site}", daemon=True).start()
            # One message per topic waits: a newer one replaces it, in its place.
            self._queues[site][message.topic] = message
            self._wake[site].set()

    def _send_all(self, site: str) -> None:
        while True:
            self._wake[site].wait()
            with self._lock:
                if not self._queues[site]:
                    self._wake[site].clear()
                    continue
                _, message = self._queues[site].popitem(last=False)
                self._sending[site] = message
            try:
                if self._link.ask(site, message) is None:
                    logger.info("%s did not take a %s message", site, message.topic)
            except Exception:  # a broken send must not end the thread: the coordinator repeats
                logger.exception("sending %s to %s failed", message.topic, site)
            finally:
                with self._lock:
                    self._sending.pop(site, None)
