"""The file ``peers.json`` in a site's kit: where this site listens, and who its peers are.

Only who is listed is heard: a valid certificate of the federation alone does not make a peer. The
file is no part of the plan; each site's administrator keeps it, and the courier reads it again
whenever it changes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fed_backend.errors import ProvisionError
from fed_backend.flare.kit import Kit, write_json_atomic
from fed_backend.plan import SITE_NAME

__all__ = ["PEERS_FILE", "Listen", "Peer", "PeerList", "PeerWatch", "load_peers", "save_peers"]

PEERS_FILE = "peers.json"

_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
_Port = Annotated[int, Field(ge=1, le=65535)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _checked_host(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.match(host):
            raise ValueError(f"{host!r} is neither a host name nor an address") from None
    return host


class Listen(_Strict):
    """Where this site's gateway listens; ``port`` 0 picks a free one at every start."""

    host: str
    port: int = Field(ge=0, le=65535)

    _host = field_validator("host")(_checked_host)


class Peer(_Strict):
    """A peer and where its gateway is reached; without ``host`` and ``port`` it can call, but not be called."""

    name: str = Field(pattern=SITE_NAME.pattern)
    host: str = ""
    port: _Port | None = None

    @field_validator("host")
    @classmethod
    def _host(cls, host: str) -> str:
        return _checked_host(host) if host else host

    @property
    def reachable(self) -> bool:
        """Whether this site knows an address of it."""
        return bool(self.host and self.port)


class PeerList(_Strict):
    """The content of ``peers.json``.

    Attributes:
        format: of the file.
        listen: where the gateway listens; ``None``: this site calls others and is not called.
        relay: whether peers without an address are reached through the hub, and reach this site so.
        peers: the peers, by name.
    """

    format: Literal["fedseg-peers/1"] = "fedseg-peers/1"
    listen: Listen | None = None
    relay: bool = False
    peers: tuple[Peer, ...] = ()

    @field_validator("peers")
    @classmethod
    def _each_once(cls, peers: Iterable[Peer]) -> tuple[Peer, ...]:
        listed = sorted(peers, key=lambda peer: peer.name)
        for before, after in pairwise(listed):
            if before.name.lower() == after.name.lower():
                raise ValueError(f"peer {after.name!r} is listed twice (upper and lower case count as equal)")
        return tuple(listed)

    def find(self, name: str) -> Peer | None:
        """The peer of that name."""
        return next((peer for peer in self.peers if peer.name == name), None)


def load_peers(kit: Kit) -> PeerList:
    """Read a kit's list; an empty one where there is none yet.

    Raises:
        ProvisionError: it is damaged, cannot be read, or names this site itself.
    """
    path = kit.folder / PEERS_FILE
    try:
        listed = PeerList.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return PeerList()
    except OSError as error:
        raise ProvisionError(
            f"{PEERS_FILE} in the kit of {kit.name!r} cannot be read: {error.strerror}",
            "it must be a file that the courier's user may read",
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ProvisionError(
            f"{PEERS_FILE} in the kit of {kit.name!r} is wrong in {where}: {first['msg']}",
            "correct it with `fedseg peers`",
        ) from None
    if listed.find(kit.name) is not None:
        raise ProvisionError(f"{PEERS_FILE} lists {kit.name!r}, which is this site itself", "remove that entry")
    return listed


def save_peers(kit: Kit, peers: PeerList) -> None:
    """Write a kit's list whole or not at all."""
    write_json_atomic(kit.folder / PEERS_FILE, peers.model_dump(mode="json"), mode=0o644)


class PeerWatch:
    """A kit's list, read again when the file changes; a damaged or unreadable file leaves the last good one in force.

    Args:
        kit: the site's kit.

    Attributes:
        wrong: what is wrong with the file now; empty if nothing.

    Raises:
        ProvisionError: the file is damaged or unreadable at the beginning.
    """

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._path: Path = kit.folder / PEERS_FILE
        self._stamp = self._mark()
        self._list = load_peers(kit)
        self.wrong = ""

    def now(self) -> PeerList:
        """The list in force."""
        stamp = self._mark()
        if stamp != self._stamp or self.wrong:  # it may be in order again under the same stamp
            self._stamp = stamp
            try:
                self._list, self.wrong = load_peers(self._kit), ""
            except ProvisionError as error:
                self.wrong = str(error)
        return self._list

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
