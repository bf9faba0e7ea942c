"""L0: background work reaches the caller's thread, also when that thread holds the interpreter lock."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from FedSegLib import worker
from FedSegLib.cancel import CancelSwitch
from FedSegLib.errors import Cancelled
from FedSegLib.worker import Lane, Mailbox

PATIENCE = 10.0


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def lane(mailbox: Mailbox) -> Iterator[Lane]:
    lane = Lane("test", mailbox)
    yield lane
    lane.close()
    assert lane.join(PATIENCE), "the lane's thread did not end"


def deliver_until(mailbox: Mailbox, condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        mailbox.deliver()


def test_results_arrive_in_order_on_the_delivering_thread(mailbox: Mailbox, lane: Lane) -> None:
    seen: list[tuple[int, str]] = []
    for number in range(5):
        lane.submit(
            lambda cancel, report, n=number: (n, threading.current_thread().name),
            lambda result: seen.append((result[0], threading.current_thread().name + "<" + result[1])),
            pytest.fail,
        )
    assert mailbox.pending == 5
    deliver_until(mailbox, lambda: len(seen) == 5)
    assert seen == [(n, "MainThread<fedseg-test") for n in range(5)]
    assert mailbox.pending == 0


def test_a_failure_is_delivered_and_the_lane_goes_on(mailbox: Mailbox, lane: Lane) -> None:
    failures: list[Exception] = []
    results: list[int] = []

    def broken(cancel: CancelSwitch, report: Any) -> int:
        raise ValueError("broken")

    lane.submit(broken, results.append, failures.append)
    lane.submit(lambda cancel, report: 2, results.append, failures.append)
    deliver_until(mailbox, lambda: results)
    assert str(failures[0]) == "broken"
    assert results == [2]


def test_progress_comes_before_the_end(mailbox: Mailbox, lane: Lane) -> None:
    seen: list[Any] = []

    def work(cancel: CancelSwitch, report: Any) -> str:
        report("half", 0.5)
        return "end"

    lane.submit(work, seen.append, pytest.fail, lambda text, fraction: seen.append((text, fraction)))
    deliver_until(mailbox, lambda: "end" in seen)
    assert seen == [("half", 0.5), "end"]


def test_cancel_ends_running_work_and_skips_waiting_work(mailbox: Mailbox, lane: Lane) -> None:
    failures: list[Exception] = []
    running = threading.Event()
    stopped = threading.Event()

    def work(cancel: CancelSwitch, report: Any) -> None:
        with cancel.tearing_down(stopped.set):
            running.set()
            stopped.wait(PATIENCE)
        cancel.check()

    ran: list[int] = []
    first = lane.submit(work, pytest.fail, failures.append)
    second = lane.submit(lambda cancel, report: ran.append(1), pytest.fail, failures.append)
    assert running.wait(PATIENCE)
    second.cancel.cancel()
    first.cancel.cancel()
    deliver_until(mailbox, lambda: len(failures) == 2)
    assert all(isinstance(failure, Cancelled) for failure in failures)
    assert not ran


def test_certain_work_is_begun_though_it_was_cancelled_while_it_waited(mailbox: Mailbox, lane: Lane) -> None:
    go, kept = threading.Event(), []
    ended: list[Any] = []

    def keep_then_send(cancel: CancelSwitch, report: Any) -> None:
        kept.append("mask")
        cancel.check()
        kept.append("sent")

    lane.submit(lambda cancel, report: go.wait(PATIENCE), ended.append, pytest.fail)
    lane.submit(keep_then_send, pytest.fail, ended.append, certain=True).cancel.cancel()
    go.set()
    deliver_until(mailbox, lambda: len(ended) == 2)
    assert kept == ["mask"]
    assert isinstance(ended[1], Cancelled)


def test_a_result_that_was_ready_when_cancelled_is_not_delivered(mailbox: Mailbox, lane: Lane) -> None:
    ended = threading.Event()
    failures: list[Exception] = []

    def work(cancel: CancelSwitch, report: Any) -> int:
        ended.set()
        return 1

    job = lane.submit(work, pytest.fail, failures.append)
    assert ended.wait(PATIENCE)
    job.cancel.cancel()
    deliver_until(mailbox, lambda: failures)
    assert isinstance(failures[0], Cancelled)


def test_an_idle_tick_does_not_wait(mailbox: Mailbox) -> None:
    started = time.perf_counter()
    for _ in range(100):
        mailbox.deliver(give_way=1.0)
    assert time.perf_counter() - started < 0.5


def test_only_what_was_just_asked_for_makes_ticks_come_often(
    mailbox: Mailbox, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "HURRY_SECONDS", 0.2)
    go, ended = threading.Event(), []
    other = Lane("other", mailbox)
    assert not mailbox.hurried
    lane.submit(lambda cancel, report: go.wait(PATIENCE), ended.append, pytest.fail)
    assert mailbox.hurried
    deliver_until(mailbox, lambda: not mailbox.hurried)
    assert mailbox.pending == 1
    other.submit(lambda cancel, report: 2, ended.append, pytest.fail)
    assert mailbox.hurried
    deliver_until(mailbox, lambda: ended == [2])
    assert not mailbox.hurried  # only the long one is left
    go.set()
    deliver_until(mailbox, lambda: ended == [2, True])
    other.close()


def test_the_worker_advances_though_the_gui_thread_holds_the_lock(mailbox: Mailbox, lane: Lane) -> None:
    """Slicer's event loop keeps the GIL while Qt idles, as PyDLL calls do. Forty blocking steps must still end."""
    hold_the_lock = ctypes.PyDLL(None).usleep
    done: list[int] = []

    def work(cancel: CancelSwitch, report: Any) -> int:
        for _ in range(40):
            time.sleep(0.0005)  # gives the lock away and needs it back, as a socket read does
        return 1

    lane.submit(work, done.append, pytest.fail)
    ticks = 0
    while not done:
        hold_the_lock(30_000)
        mailbox.deliver()
        ticks += 1
        assert ticks < 40, "the worker got only one step per tick: deliver() does not give the lock away"


@pytest.mark.parametrize("direction", ["down", "up"])
def test_megabytes_travel_though_the_gui_thread_holds_the_lock(
    mailbox: Mailbox, lane: Lane, peer: Any, tmp_path: Path, direction: str
) -> None:
    """4 MB through a real socket, in a few ticks between which Python's lock is held as Slicer holds it."""
    from FedSegLib.address import parse_address
    from FedSegLib.transport import Transport, Upload

    content = bytes(range(256)) * (1 << 14)
    peer.image = content
    path = tmp_path / "volume.nrrd"
    path.write_bytes(content)
    transport = Transport(parse_address(peer.url))
    hold_the_lock = ctypes.PyDLL(None).usleep
    done: list[Any] = []

    def work(cancel: CancelSwitch, report: Any) -> Any:
        if direction == "down":
            return transport.request("GET", "/datastore/image", query={"image": "x"}, limit=1 << 30, cancel=cancel)
        upload = Upload("file", "volume.nrrd", path)
        return transport.request("PUT", "/datastore/image", query={"image": "x"}, upload=upload, cancel=cancel)

    lane.submit(work, done.append, pytest.fail)
    ticks = 0
    while not done:
        hold_the_lock(30_000)
        mailbox.deliver()
        ticks += 1
        assert ticks < 150, "the lock is not given away often enough"
    if direction == "down":
        assert done[0].body == content


def test_an_answer_to_what_a_message_asks_for_comes_within_the_same_tick(mailbox: Mailbox, lane: Lane) -> None:
    hold_the_lock = ctypes.PyDLL(None).usleep
    done: list[int] = []
    mailbox.later(lambda: lane.submit(lambda cancel, report: 7, done.append, pytest.fail) and None)
    hold_the_lock(30_000)
    mailbox.deliver(give_way=PATIENCE)
    assert done == [7]
    assert mailbox.pending == 0


def test_a_teardown_registered_after_the_cancel_is_refused() -> None:
    switch = CancelSwitch()
    switch.cancel()
    with pytest.raises(Cancelled), switch.tearing_down(lambda: None):
        pytest.fail("must not be entered")
