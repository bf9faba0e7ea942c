"""``fedseg courier start`` under a plan of peers: gateway and exchanges of one site; no hub is contacted."""

from __future__ import annotations

import logging
import logging.handlers
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fed_backend.errors import FederationError
from fed_backend.flare.certificates import announce_expiry, check_certificate
from fed_backend.flare.courier import Courier
from fed_backend.flare.kit import Kit, hold, write_json_atomic
from fed_backend.flare.leaving import left_at, require_member
from fed_backend.flare.site_client import SiteClient, token_reader
from fed_backend.gossip.client import PeerClient
from fed_backend.gossip.exchange import Line
from fed_backend.gossip.gateway import Host
from fed_backend.gossip.inbox import Inbox
from fed_backend.gossip.peers import Listen, Peer, PeerWatch
from fed_backend.gossip.relay_end import relay_ports
from fed_backend.gossip.roster import Roster
from fed_backend.gossip.server import Gateway
from fed_backend.gossip.session import GossipSession

__all__ = ["GossipCourier"]

_STEP_S = 0.2
_AGAIN_S = 5.0
_LOG_BYTES = 2_000_000


class GossipCourier:
    """One site's courier among its peers.

    Args:
        kit: the site's kit; its plan knows peers.
        site_url: address of the site server.
        token_file: file with the courier's token.
        ready_file: gets ``{"pid", "site", "port"}`` once the gateway listens and the site server has
            answered; ``port`` is ``None`` for a site that does not listen.
        say: prints a line for the person at the terminal.
        site_ca: certificates to trust at ``site_url``; see :class:`.SiteClient`.

    Raises:
        FederationError: ``site_url`` is no address, or ``site_ca`` holds no certificates.
        ProvisionError: the list of peers is damaged.
    """

    def __init__(
        self,
        kit: Kit,
        site_url: str,
        token_file: Path,
        ready_file: Path | None,
        say: Callable[[str], None],
        site_ca: Path | None = None,
    ) -> None:
        self._kit, self._ready_file, self._say = kit, ready_file, say
        self._watch = PeerWatch(kit)
        self._roster = Roster(kit.run / "peers-seen.json")
        site = SiteClient(site_url, token_reader(token_file), kit.plan.max_payload_bytes, site_ca)
        relay = self._watch.now().relay
        self._relay = Courier(kit, site_url, token_file, None, say, site_ca) if relay else None
        self._session = GossipSession(
            kit.name,
            kit.plan,
            site,
            self._watch,
            self._roster,
            self._dial,
            self._greet,
            self._on_ready,
            (lambda: relay_ports(kit)) if relay else dict,
        )
        self._gateway: Gateway | None = None
        self._not_before = 0.0
        self._answered = False
        self._wrong = ""

    def run(self) -> None:
        """Serve until :class:`~fed_backend.flare.processes.Stopped`, or until the site leaves its federation.

        Raises:
            ProvisionError: the kit's certificate is not this site's, or the site has left.
            FederationError: another courier runs from this kit, or the gateway cannot listen.
        """
        require_member(self._kit)
        announce_expiry(self._kit.name, check_certificate(self._kit), self._say)
        with hold(self._kit.run / "lock", "a courier from this kit"), _logging(self._kit.run / "courier.log"):
            if self._ready_file:
                self._ready_file.unlink(missing_ok=True)
            inbox = Inbox(self._kit.run / "inbox", self._session.deliver)
            host = Host(
                self._kit.name, self._kit.plan, inbox, self._is_peer, self._roster.seen, lambda: self._session.examples
            )
            try:
                self._listen(host)
                inbox.start()
                self._session.start()
                while not left_at(self._kit):
                    self._step(host)
                    if self._relay:
                        self._relay.step()
                    time.sleep(_STEP_S)
            finally:
                self._session.stop()
                if self._relay:
                    self._relay.end()
                inbox.stop()
                if self._gateway:
                    self._gateway.stop()

    def _listen(self, host: Host) -> None:
        listen = self._watch.now().listen
        if listen is None and self._relay:
            listen = Listen(host="127.0.0.1", port=0)  # for the relay alone
        if listen is None:
            self._say("no address to listen at (`fedseg peers listen`): this site calls others and is not called")
            return
        gateway = Gateway(self._kit, (listen.host, listen.port), host)
        gateway.start()
        self._gateway = gateway
        if self._relay:
            host_here = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104
            self._relay.begin({"gateway": [host_here, gateway.port]})
        self._say(f"peers reach {self._kit.name!r} at {listen.host}:{gateway.port}")

    def _step(self, host: Host) -> None:
        now = time.monotonic()
        if self._gateway and not self._gateway.alive and now >= self._not_before:
            self._not_before = now + _AGAIN_S
            self._say("the peer gateway has ended; it is started again")
            self._gateway.stop()
            try:
                self._listen(host)
            except FederationError as error:
                self._say(str(error))
        if self._watch.wrong != self._wrong:
            self._wrong = self._watch.wrong
            self._say(self._wrong or "the list of peers is in order again")
        if self._answered:
            self._answered = False
            self._announce()

    def _announce(self) -> None:
        self._say(f"{self._kit.name} is connected to its site server")
        if self._ready_file:
            port = self._gateway.port if self._gateway else None
            write_json_atomic(self._ready_file, {"pid": os.getpid(), "site": self._kit.name, "port": port})

    def _on_ready(self) -> None:
        self._answered = True

    def _is_peer(self, name: str) -> bool:
        return self._watch.now().find(name) is not None

    @contextmanager
    def _dial(self, peer: Peer) -> Iterator[Line]:
        with closing(PeerClient(self._kit, peer)) as client:
            yield client

    def _greet(self, peer: Peer) -> int:
        with closing(PeerClient(self._kit, peer)) as client:
            return client.hello().examples


@contextmanager
def _logging(file: Path) -> Iterator[None]:
    """What the courier says goes to one small file, turned over when it has grown."""
    handler: Any = logging.handlers.RotatingFileHandler(file, maxBytes=_LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("fed_backend")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        handler.close()
