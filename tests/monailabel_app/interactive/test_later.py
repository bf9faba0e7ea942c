"""Features that are written after the answer: found meanwhile, bounded, written in the end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from monailabel_app.inference.embeddings.disk import DiskStore
from monailabel_app.inference.embeddings.later import LaterStore
from monailabel_app.inference.embeddings.priority import REST_S, Turns

IMAGE = "ab" * 32
WAIT_S = 20.0


class Gate:
    """Keeps the writer waiting until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(WAIT_S)


def features(value: float) -> torch.Tensor:
    return torch.full((1, 4, 8, 8), float(value))


def test_what_is_not_yet_written_is_found(tmp_path: Path) -> None:
    gate = Gate()
    store = LaterStore(DiskStore(tmp_path), gate)
    store.put(IMAGE, "1", features(1), compact=True)
    store.put(IMAGE, "2", features(2), compact=True)
    assert gate.reached.wait(WAIT_S)
    assert list(tmp_path.rglob("*.emb")) == []
    assert store.has(IMAGE, "2")
    assert not store.has(IMAGE, "3")
    waiting = store.get(IMAGE, "2")
    assert waiting is not None
    assert torch.equal(waiting, features(2))
    gate.opened.set()
    store.close()
    kept = DiskStore(tmp_path).get(IMAGE, "2")
    assert kept is not None
    assert kept.dtype == torch.float16
    assert torch.equal(kept.float(), features(2))


def test_closing_writes_everything_and_later_puts_are_not_lost(tmp_path: Path) -> None:
    store = LaterStore(DiskStore(tmp_path), lambda: None)
    for number in range(20):
        store.put(IMAGE, str(number), features(number))
    store.close()
    store.put(IMAGE, "late", features(5))
    again = DiskStore(tmp_path)
    assert all(again.has(IMAGE, name) for name in [*map(str, range(20)), "late"])


def test_no_more_than_the_limit_waits(tmp_path: Path) -> None:
    gate = Gate()
    store = LaterStore(DiskStore(tmp_path), gate, limit=2 * features(0).nbytes)
    for number in range(4):
        store.put(IMAGE, str(number), features(number))
    written = {file.stem for file in tmp_path.rglob("*.emb")}
    assert written == {"2", "3"}  # by the caller; the first two wait
    gate.opened.set()
    store.close()
    assert len(DiskStore(tmp_path)) == 4


def test_features_beyond_float16_are_kept_exactly(tmp_path: Path) -> None:
    DiskStore(tmp_path).put(IMAGE, "1", features(1e6), compact=True)
    kept = DiskStore(tmp_path).get(IMAGE, "1")
    assert kept is not None
    assert torch.equal(kept, features(1e6))


def test_background_work_lets_the_answer_out_first() -> None:
    turns = Turns()
    with turns.urgent():
        answered = time.monotonic()
    turns.step_aside()
    assert time.monotonic() - answered >= REST_S


@pytest.mark.parametrize("excuse", [True, False])
def test_background_work_gets_on_although_somebody_is_served(excuse: bool) -> None:
    turns = Turns()
    done = threading.Event()

    def background() -> None:
        turns.step_aside(lambda: excuse)
        done.set()

    with turns.urgent():
        threading.Thread(target=background).start()
        assert done.wait(WAIT_S)
