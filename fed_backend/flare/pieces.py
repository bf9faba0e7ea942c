"""A file as a message body: it travels in pieces, so that neither end holds it in memory.

FLARE keeps a message in memory several times over, at both ends, and a hub serves many sites at once. A
body in a file goes out as messages on topic :data:`PIECE`, one at a time and each answered with how much
the receiver has; then the message itself names what came before it. A transfer that breaks off goes on
where it was when it is tried again, as long as the receiver's process lives. Length and SHA-256 decide
whether it is whole. The more sites there are, the shorter are the pieces, so that what a hub holds of all of
them does not grow with their number.

Fields of a piece: ``transfer`` (topic and task of the message it belongs to), ``at`` (offset), ``size`` (of the
whole body). Answer: ``ok``, ``have`` (bytes that the receiver has), ``next`` (how long the next piece may be).
The message's own ``transfer``, ``size`` and ``sha256`` are in its field :data:`BODY`.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fed_backend.flare.messages import Message
from fed_backend.plan import SITE_NAME
from fed_backend.tensor_file import size

__all__ = ["BODY", "LEAST_BYTES", "PIECE", "PIECE_BYTES", "Spool", "send", "share_of"]

PIECE = "piece"
BODY = "body"
PIECE_BYTES = 8 * 2**20
"""Longest piece."""
LEAST_BYTES = 2**20
"""Shortest piece, and the first one of a body; what is no longer goes whole."""
_ALL_BYTES = 64 * 2**20
"""Of the pieces that are under way in one direction between a hub and its sites, unless these are very many."""
_TRIES, _TRY_AGAIN_S = 3, 0.3
_MOST_TRANSFER_CHARS = 200

Answer = dict[str, Any] | None


def share_of(sites: int) -> int:
    """How long pieces may be at a hub with so many sites, bytes."""
    return min(PIECE_BYTES, max(LEAST_BYTES, _ALL_BYTES // max(sites, 1)))


def send(ask: Callable[[Message, float], Answer], message: Message, most: int = PIECE_BYTES) -> Answer:
    """Send a message whose body may be a file; its answer, or ``None`` if there is none in time.

    Args:
        ask: sends one message and waits for its answer; told how many bytes the receiver has to look at.
        message: what to say.
        most: how long pieces may be at this end; the receiver says how long they may be at the other.

    Raises:
        OSError: the file cannot be read.
    """
    if not isinstance(message.body, Path):
        return ask(message, len(message.body))
    with open(message.body, "rb") as file:  # stays readable if it is deleted meanwhile
        total = size(message.body)
        if total <= LEAST_BYTES:
            return ask(replace(message, body=file.read()), total)
        transfer = f"{message.topic}:{message.fields.get('task', '')}"[:_MOST_TRANSFER_CHARS]
        hasher, at, have, length = hashlib.sha256(), 0, 0, LEAST_BYTES
        while piece := file.read(have - at if at < have < at + length else length):  # the next begins where they are
            hasher.update(piece)
            if have <= at:
                part = Message(PIECE, {"transfer": transfer, "at": at, "size": total}, piece)
                answer = _patiently(ask, part, len(piece))
                if answer is None or not answer.get("ok"):
                    return answer
                have = int(answer.get("have", 0))
                length = max(LEAST_BYTES, min(most, int(answer.get("next", length))))
            at += len(piece)
            if have < at:  # the receiver began anew, as the caller will
                return None
        named = {"transfer": transfer, "size": at, "sha256": hasher.hexdigest()}
        return ask(Message(message.topic, {**message.fields, BODY: named}), at)


def _patiently(ask: Callable[[Message, float], Answer], part: Message, count: int) -> Answer:
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_TRY_AGAIN_S)
        if (answer := ask(part, count)) is not None:
            return answer
    return None


@dataclass
class _Transfer:
    name: str
    size: int
    file: Path
    have: int = 0
    hasher: Any = field(default_factory=hashlib.sha256)


class Spool:
    """Bodies that are arriving: one at a time from each sender, as files in a folder.

    Args:
        folder: emptied now.
        most: longest body that is taken, bytes.
        may_send: whether a sender may send bodies at all.

    Attributes:
        piece_bytes: how long the pieces may be.
    """

    def __init__(self, folder: Path, most: int, may_send: Callable[[str], bool]) -> None:
        self.piece_bytes = PIECE_BYTES
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        self._folder, self._most, self._may_send = folder, most, may_send
        self._lock = threading.Lock()
        self._transfers: dict[str, _Transfer] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._count = 0

    def take(self, sender: str, message: Message) -> dict[str, Any]:
        """Store a piece; the answer to it."""
        name, at, total, piece = *(message.fields.get(key) for key in ("transfer", "at", "size")), message.body
        if not (isinstance(name, str) and isinstance(at, int) and isinstance(total, int) and isinstance(piece, bytes)):
            return {"ok": False, "detail": "malformed piece"}
        if not SITE_NAME.match(sender) or not self._may_send(sender) or len(name) > _MOST_TRANSFER_CHARS:
            return {"ok": False, "detail": f"{sender[:64]!r} may send nothing here"}
        if not 0 <= at <= total - len(piece) or total > self._most:
            return {"ok": False, "detail": f"a body of {total} bytes; the plan allows {self._most}"}
        with self._of(sender):
            transfer = self._transfers.get(sender)
            if transfer is None or (transfer.name, transfer.size) != (name, total):
                transfer = self._begin(sender, name, total)
            if at == transfer.have:
                with open(transfer.file, "ab") as file:
                    file.truncate(at)  # a piece that was cut short by a full disk
                    file.write(piece)
                transfer.hasher.update(piece)
                transfer.have += len(piece)
            return {"ok": True, "have": transfer.have, "next": self.piece_bytes}

    def claim(self, sender: str, message: Message) -> Message | None:
        """The message with the body that came before it; ``None`` where it is not whole."""
        named = message.fields.get(BODY)
        if not isinstance(named, dict):
            return None
        with self._of(sender):
            transfer = self._transfers.get(sender)
            if transfer is None or (transfer.name, transfer.have) != (named.get("transfer"), named.get("size")):
                return None
            del self._transfers[sender]
            if transfer.hasher.hexdigest() != named.get("sha256"):
                transfer.file.unlink(missing_ok=True)
                return None
        fields = {key: value for key, value in message.fields.items() if key != BODY}
        return Message(message.topic, fields, transfer.file, str(named["sha256"]))

    def _of(self, sender: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(sender, threading.Lock())

    def _begin(self, sender: str, name: str, total: int) -> _Transfer:
        if (old := self._transfers.get(sender)) is not None:
            old.file.unlink(missing_ok=True)
        with self._lock:
            self._count += 1
        transfer = self._transfers[sender] = _Transfer(name, total, self._folder / f"{sender}.{self._count}")
        return transfer
