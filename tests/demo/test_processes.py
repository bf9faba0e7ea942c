"""Starting and stopping: ready files, quoted logs, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fed_backend.demo.errors import ProcessError
from fed_backend.demo.parallel import in_parallel
from fed_backend.demo.processes import ProcessGroup

READY = """
import json, os, sys, time
path = sys.argv[sys.argv.index("--ready-file") + 1]
with open(path + ".tmp", "w") as stream:
    json.dump({"pid": os.getpid()}, stream)
os.replace(path + ".tmp", path)
"""
SERVER = READY + "time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
PARENT = (
    """
import subprocess, sys
session = "--detached" in sys.argv
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=session)
"""
    + READY.replace('"pid": os.getpid()', '"pid": child.pid')
    + "time.sleep(600)"
)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_server_is_stopped_when_the_block_ends(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        pid = group.server("hub", ["-c", SERVER]).wait_ready(20)["pid"]
        group.check()
        assert alive(pid)
    assert not alive(pid)


@pytest.mark.parametrize("detached", [[], ["--detached"]])
def test_children_of_a_server_are_stopped_too(tmp_path: Path, detached: list[str]) -> None:
    with ProcessGroup(tmp_path, grace=2) as group:
        child = group.server("site a", ["-c", PARENT, *detached]).wait_ready(20)["pid"]
        assert alive(child)
    until(lambda: not alive(child))


def test_a_server_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path, grace=0.5) as group:
        pid = group.server("hub", ["-c", STUBBORN]).wait_ready(20)["pid"]
    assert not alive(pid)


def test_stopping_goes_backwards(tmp_path: Path) -> None:
    order = tmp_path / "order"
    script = (
        f"""
import signal, sys
def stop(*_):
    open({str(order)!r}, "a").write(sys.argv[1] + " ")
    raise SystemExit
signal.signal(signal.SIGTERM, stop)
"""
        + SERVER
    )
    with ProcessGroup(tmp_path) as group:
        for name in ("hub", "site", "courier"):
            group.server(name, ["-c", script, name]).wait_ready(20)
    assert order.read_text().split() == ["courier", "site", "hub"]


def test_an_early_death_quotes_the_log_and_names_it_relative_to_the_output(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group, pytest.raises(ProcessError) as caught:
        group.server("site north", ["-c", "print('port 80 is in use'); raise SystemExit(3)"]).wait_ready(20)
    message = str(caught.value)
    assert "site north ended with status 3" in message
    assert "port 80 is in use" in message
    assert "logs/site-north.log" in message
    assert str(tmp_path) not in message


def test_a_server_that_dies_later_is_noticed_while_waiting_for_something_else(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        hub = group.server("hub", ["-c", SERVER])
        pid = hub.wait_ready(20)["pid"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessError, match="hub was killed by signal 9"):
            in_parallel({"a": lambda: time.sleep(30)}, group.check)


def test_a_server_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group, pytest.raises(ProcessError, match="not ready after 0 s"):
        group.server("hub", ["-c", "import time; time.sleep(600)"]).wait_ready(0.3)


def test_a_failed_command_quotes_its_output(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group, pytest.raises(ProcessError, match="no such plan"):
        group.command("plan", ["-c", "raise SystemExit('no such plan')"])


def test_ctrl_c_while_stopping_still_stops_everything(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from fed_backend.demo.processes import ProcessGroup
try:
    with ProcessGroup(Path({str(tmp_path)!r}), grace=30) as group:
        pids = [group.server(f"site {{n}}", ["-c", {STUBBORN!r}]).wait_ready(20)["pid"] for n in range(2)]
        print(*pids, flush=True)
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pids = [int(word) for word in run.stdout.readline().split()]
    assert len(pids) == 2

    def interrupted_to_the_end() -> bool:
        run.send_signal(signal.SIGINT)
        return run.poll() is not None

    until(interrupted_to_the_end)  # long before the 30 s of grace are over
    assert not any(alive(pid) for pid in pids)
    run.stdout.close()


def test_parallel_returns_results_by_site_and_the_first_error() -> None:
    assert in_parallel({"a": lambda: 1, "b": lambda: 2}) == {"a": 1, "b": 2}

    def fail() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_parallel({"a": lambda: 1, "b": fail})
