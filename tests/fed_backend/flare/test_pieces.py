"""Bodies in files, carried in pieces over a line that loses messages, and by ends that break off."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fed_backend.flare import pieces
from fed_backend.flare.messages import Message
from fed_backend.flare.pieces import BODY, LEAST_BYTES, PIECE, PIECE_BYTES, SOON_S, Spool, send

BYTES = random.Random(1).randbytes(3 * PIECE_BYTES + 1234)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_TRY_AGAIN_S", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "update"
    path.write_bytes(BYTES)
    return path


class Line:
    """A site's line to a hub with a spool: ``loses`` says which messages and answers get lost, ``carries`` spoils."""

    def __init__(self, folder: Path, most: int = 10 * PIECE_BYTES) -> None:
        self.folder, self.most = folder, most
        self.loses: Callable[[Message], bool] = lambda message: False
        self.carries: Callable[[Message], Message] = lambda message: message
        self.heard: list[Message] = []
        self.sizes: list[int] = []
        self.restart()

    def restart(self) -> None:
        self.spool = Spool(self.folder, self.most, {"north"}.__contains__)

    def ask(self, message: Message, sender: str = "north") -> dict[str, Any] | None:
        if self.loses(message):
            return None
        message = self.carries(message)
        if message.topic == PIECE:
            self.sizes.append(len(message.body))  # type: ignore[arg-type]
            answer = self.spool.take(sender, message)
        else:
            found = self.spool.claim(sender, message) if BODY in message.fields else message
            if found is None:
                return None
            body = found.body
            self.heard.append(
                Message(found.topic, found.fields, body if isinstance(body, bytes) else body.read_bytes())
            )
            if isinstance(body, Path):
                body.unlink()
            answer = {"ok": True}
        return None if self.loses(message) else answer

    def left(self) -> list[Path]:
        return list(self.folder.iterdir())


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path / "incoming")


def result(file: Path) -> Message:
    return Message("result", {"task": "run1/0/train", "ok": True}, file)


def again(line: Line, message: Message, times: int = 50) -> dict[str, Any] | None:
    """As a courier does: until there is an answer."""
    return next((answer for _ in range(times) if (answer := send(lambda m, _: line.ask(m), message)) is not None), None)


def test_a_file_arrives_as_the_body_it_is(line: Line, file: Path) -> None:
    assert again(line, result(file)) == {"ok": True}
    assert line.heard == [Message("result", {"task": "run1/0/train", "ok": True}, BYTES)]
    assert max(line.sizes) == PIECE_BYTES
    assert line.left() == []


def test_a_file_that_is_not_what_its_sender_knows_of_it_is_not_taken(line: Line, file: Path) -> None:
    known = replace(result(file), sha256=hashlib.sha256(BYTES).hexdigest())
    assert again(line, known) == {"ok": True}
    file.write_bytes(BYTES[:-1] + b"?")
    assert again(line, known) is None
    assert len(line.heard) == 1
    assert line.left() == []


def test_a_small_file_needs_no_pieces(line: Line, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x" * LEAST_BYTES)
    assert again(line, result(small)) == {"ok": True}
    assert line.heard[0].body == b"x" * LEAST_BYTES
    assert line.sizes == []


def test_a_line_that_loses_every_third_message_carries_every_byte(line: Line, file: Path) -> None:
    rng = random.Random(2)
    line.loses = lambda message: rng.random() < 0.33
    assert again(line, result(file)) == {"ok": True}
    assert {message.body for message in line.heard} == {BYTES}


def test_over_a_slow_line_pieces_get_shorter(line: Line, file: Path) -> None:
    """Every byte takes its time, until the line is quick again."""
    now, seconds_per_byte = 0.0, SOON_S / (3 * LEAST_BYTES)

    def ask(message: Message, count: float) -> dict[str, Any] | None:
        nonlocal now
        now += count * (seconds_per_byte if len(line.sizes) < 6 else 0)
        return line.ask(message)

    assert send(ask, result(file), lambda: now) == {"ok": True}
    assert line.heard[0].body == BYTES
    assert [size // LEAST_BYTES for size in line.sizes] == [1, 2, 4, 2, 4, 2, 4, 5]


@pytest.mark.parametrize("slow", [False, True])
def test_a_transfer_that_broke_off_goes_on_where_it_was(line: Line, file: Path, slow: bool) -> None:
    line.loses = lambda message: len(line.sizes) >= 4
    assert send(lambda m, _: line.ask(m), result(file)) is None
    assert line.sizes == [count * LEAST_BYTES for count in (1, 2, 4, 8)]
    line.loses = lambda message: False
    line.sizes.clear()
    now = itertools.count()  # two seconds for a piece
    assert send(lambda m, _: line.ask(m), result(file), lambda: 2.0 * next(now) if slow else 0.0) == {"ok": True}
    assert line.heard[0].body == BYTES
    assert sum(line.sizes) == LEAST_BYTES + len(BYTES) - 15 * LEAST_BYTES, "nothing else was sent twice"
    assert (max(line.sizes) == LEAST_BYTES) == slow


def test_a_receiver_that_restarts_gets_it_all_anew(line: Line, file: Path) -> None:
    def restarts(message: Message) -> bool:
        if len(line.sizes) == 2:
            line.sizes.append(0)
            line.restart()
        return False

    line.loses = restarts
    assert send(lambda m, _: line.ask(m), result(file)) is None
    assert again(line, result(file)) == {"ok": True}
    assert line.heard[0].body == BYTES


def test_bytes_that_changed_on_the_way_do_not_count(line: Line, file: Path) -> None:
    def spoilt(message: Message) -> Message:
        return replace(message, body=bytes(PIECE_BYTES)) if message.fields.get("at") == LEAST_BYTES else message

    line.carries = spoilt
    assert send(lambda m, _: line.ask(m), result(file)) is None
    assert line.heard == []
    assert line.left() == []
    line.carries = lambda message: message
    assert again(line, result(file)) == {"ok": True}
    assert line.heard[0].body == BYTES


def test_an_older_transfer_makes_room_for_the_next(line: Line, file: Path) -> None:
    line.loses = lambda message: len(line.sizes) >= 2
    assert send(lambda m, _: line.ask(m), result(file)) is None
    line.loses = lambda message: False
    other = Message("result", {"task": "run1/1/train"}, file)
    assert again(line, other) == {"ok": True}
    assert line.heard[0].fields["task"] == "run1/1/train"
    assert line.left() == []


def test_strangers_and_what_is_too_large_leave_nothing(tmp_path: Path, file: Path) -> None:
    line = Line(tmp_path / "incoming", most=len(BYTES) - 1)
    answer = send(lambda m, _: line.ask(m), result(file))
    assert answer is not None
    assert not answer["ok"]
    assert "the plan allows" in answer["detail"]
    piece = Message(PIECE, {"transfer": "result:t", "at": 0, "size": 10}, b"x" * 10)
    for sender in ("stranger", "../north", ""):
        refused = line.ask(piece, sender)
        assert refused is not None
        assert not refused["ok"]
    assert line.left() == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"transfer": "t", "at": -1, "size": 10},
        {"transfer": "t", "at": 5, "size": 10},
        {"transfer": "t" * 201, "at": 0, "size": 10},
        {"transfer": 5, "at": 0, "size": 10},
        {"transfer": "t", "at": 0, "size": 10**12},
    ],
)
def test_odd_pieces_are_refused(line: Line, fields: dict[str, Any]) -> None:
    answer = line.ask(Message(PIECE, fields, b"x" * 10))
    assert answer is not None
    assert not answer["ok"]
    assert line.left() == []
