"""The relay in a site's FLARE job process: a tunnel, and a beat that tells the hub that it is there."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

from fed_backend.flare.kit import COURIER_CONFIG, COURIER_READY, Kit, write_json_atomic
from fed_backend.flare.messages import BEAT_S, Message
from fed_backend.gossip.peers import PeerWatch
from fed_backend.gossip.relay import Ask, Tunnel

__all__ = ["RelayEnd", "relay_ports"]

logger = logging.getLogger(__name__)


class RelayEnd:
    """One site's end of the relay, for as long as a FLARE job runs.

    Args:
        kit: the site's kit.
        hub: name of the hub on the line.
        job_id: the FLARE job.
        ask: the line to other members and to the hub.
    """

    def __init__(self, kit: Kit, hub: str, job_id: str, ask: Ask) -> None:
        self._kit, self._hub, self._job_id, self._ask = kit, hub, job_id, ask
        self._watch = PeerWatch(kit)
        self._tunnel = Tunnel(ask, self._gateway, lambda name: self._watch.now().find(name) is not None)
        self._stop = threading.Event()

    def start(self, listen: Callable[..., None]) -> None:
        """Serve; ``listen`` is :meth:`.Link.listen`.

        Who sends a frame is only claimed, which is enough: the TLS inside the stream decides who is heard.
        """
        listen(self._tunnel.receive, claimed=frozenset({"tunnel"}))
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def stop(self) -> None:
        """End every stream."""
        self._stop.set()
        self._tunnel.stop()

    def _beat(self) -> None:
        told: dict[str, int] | None = None
        while not self._stop.is_set():
            try:
                answer = self._ask(self._hub, Message("beat", {"plan_sha256": self._kit.plan.sha256}))
                if answer is not None and not answer.get("ok"):
                    logger.error("the hub refuses this courier: %s", answer.get("detail"))
                ports = {peer.name: self._tunnel.port(peer.name) for peer in self._watch.now().peers}
                if answer and answer.get("ok") and ports != told:
                    told = ports
                    write_json_atomic(self._kit.run / COURIER_READY, {"job": self._job_id, "relay": ports})
            except Exception:  # a line that breaks must not end the beats
                logger.exception("the hub cannot be asked")
            self._stop.wait(BEAT_S)

    def _gateway(self) -> tuple[str, int] | None:
        found = _read(self._kit, COURIER_CONFIG).get("gateway")
        return (str(found[0]), int(found[1])) if isinstance(found, list) and len(found) == 2 else None


def relay_ports(kit: Kit) -> dict[str, int]:
    """Peer -> local port that leads to it through the hub; empty while there is no connection."""
    ports = _read(kit, COURIER_READY).get("relay", {})
    return {str(k): int(v) for k, v in ports.items()} if isinstance(ports, dict) else {}


def _read(kit: Kit, name: str) -> dict[str, Any]:
    try:
        found = json.loads((kit.run / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
