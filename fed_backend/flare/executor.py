"""A site's job process: FLARE's executor around the :class:`~fed_backend.flare.session.CourierSession`."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import make_reply

from fed_backend.flare.child import watch_parent
from fed_backend.flare.engine import HUB_CELL, Link
from fed_backend.flare.kit import COURIER_CONFIG, COURIER_READY, load_kit, write_json_atomic
from fed_backend.flare.messages import Message
from fed_backend.flare.pieces import Spool
from fed_backend.flare.session import CourierSession
from fed_backend.flare.site_client import SiteClient, token_reader
from fed_backend.gossip.relay_end import RelayEnd
from fed_backend.methods import GOSSIP
from fed_backend.secure.roster import Identity
from fed_backend.secure.site import SecureSite

__all__ = ["CourierExecutor"]

logger = logging.getLogger(__name__)


class CourierExecutor(Executor):  # type: ignore[misc]  # FLARE has no types
    """Lives as long as the federation job; rounds travel as messages, not as tasks."""

    def __init__(self) -> None:
        super().__init__()
        self._session: CourierSession | RelayEnd | None = None
        self._ready: Path | None = None

    def handle_event(self, event_type: str, fl_ctx: Any) -> None:
        """Start and stop with the job."""
        if event_type == EventType.START_RUN:
            self._start(fl_ctx)
        elif event_type in {EventType.ABOUT_TO_END_RUN, EventType.END_RUN} and self._session:
            self._session.stop()
            if self._ready:
                self._ready.unlink(missing_ok=True)

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """The hub sends no tasks."""
        return make_reply(ReturnCode.TASK_UNKNOWN)

    def _start(self, fl_ctx: Any) -> None:
        watch_parent(lambda: os._exit(1))
        kit = load_kit(fl_ctx.get_engine().get_workspace().get_root_dir(), "site")
        link, job_id, ready = Link(fl_ctx), fl_ctx.get_job_id(), kit.run / COURIER_READY
        ready.unlink(missing_ok=True)
        self._ready = ready
        if kit.plan.method.name in GOSSIP:
            relay = RelayEnd(kit, HUB_CELL, job_id, link.ask)
            relay.start(link.listen)
            self._session = relay
            return
        config = json.loads((kit.run / COURIER_CONFIG).read_text(encoding="utf-8"))
        token, ca = token_reader(Path(config["token_file"])), config["site_ca"]
        site = SiteClient(config["site_url"], token, kit.plan.max_payload_bytes, Path(ca) if ca else None)

        def on_ready() -> None:
            write_json_atomic(ready, {"job": job_id})

        secure = SecureSite(Identity.of(kit), kit.plan, site.leaving) if kit.plan.secure else None
        session = CourierSession(site, _HubLine(link), kit.plan.sha256, on_ready, kit.run / "tasks", secure)
        spool = Spool(kit.run / "incoming", kit.plan.max_payload_bytes, lambda sender: sender == HUB_CELL)

        def receive(sender: str, message: Message) -> dict[str, Any]:
            return session.receive(message) if sender == HUB_CELL else {"ok": False}

        link.listen(receive, spool=spool)
        session.start()
        self._session = session


class _HubLine:
    """The line to the hub's job process."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def ask(self, message: Message) -> dict[str, Any] | None:
        try:
            return self._link.ask(HUB_CELL, message)
        except Exception:  # a line that breaks is a line without an answer
            logger.exception("the hub cannot be asked")
            return None
