"""A file as a message body: it travels in pieces, so that neither end holds it in memory.

FLARE keeps a message in memory several times over, at both ends, and a hub serves many sites at once. A
body in a file goes out as messages on topic :data:`PIECE`, one at a time and each answered with how much
the receiver has; then the message itself names what came before it. A transfer that breaks off goes on
where it was when it is tried again, as long as the receiver's process lives. Length and SHA-256 decide
whether it is whole. A sender looks for the length that takes a second: over a slow line FLARE would send again
what is only late, and a hub that serves many sites at once holds little of each.

Fields of a piece: ``transfer`` (topic and task of the message it belongs to), ``at`` (offset), ``size`` (of the
whole body). Answer: ``ok``, ``have`` (bytes that the receiver has).
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

__all__ = ["BODY", "LEAST_BYTES", "PIECE", "PIECE_BYTES", "SOON_S", "Spool", "send"]

PIECE = "piece"
BODY = "body"
PIECE_BYTES = 8 * 2**20
"""Longest piece."""
LEAST_BYTES = 2**20
"""Shortest piece, and the first one of a body; what is no longer goes whole."""
SOON_S = 1.0
"""A piece that took longer is followed by one of half its length, another one by one of twice as much."""
_TRIES, _TRY_AGAIN_S = 3, 0.3
_MOST_TRANSFER_CHARS = 200

Answer = dict[str, Any] | None


def send(
    ask: Callable[[Message, float], Answer], message: Message, clock: Callable[[], float] = time.monotonic
) -> Answer:
    """Send a message whose body may be a file; its answer, or ``None`` if there is none in time.

    Args:
        ask: sends one message and waits for its answer; told how many bytes the receiver has to look at.
        message: what to say.
        clock: seconds.

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
        hasher = None if message.sha256 else hashlib.sha256()
        at, have, length = 0, 0, LEAST_BYTES
        while piece := file.read(have - at if at < have < at + length else length):  # the next begins where they are
            if hasher is not None:
                hasher.update(piece)
            if have <= at:
                part = Message(PIECE, {"transfer": transfer, "at": at, "size": total}, piece)
                asked = clock()
                answer = _patiently(ask, part, len(piece))
                if answer is None or not answer.get("ok"):
                    return answer
                have = int(answer.get("have", 0))
                length = length // 2 if clock() - asked > SOON_S else 2 * length
                length = min(max(length, LEAST_BYTES), PIECE_BYTES)
            at += len(piece)
            if have < at:  # the receiver began anew, as the caller will
                return None
        named = {"transfer": transfer, "size": at, "sha256": hasher.hexdigest() if hasher else message.sha256}
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
    """

    def __init__(self, folder: Path, most: int, may_send: Callable[[str], bool]) -> None:
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
            return {"ok": True, "have": transfer.have}

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
