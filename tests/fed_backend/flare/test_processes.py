"""No child outlives the process that started it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from running import ROOT, until

from fed_backend.flare.processes import Child

# A parent with a child that has a child: prints their process ids, then waits.
PARENT = """
import sys, time
from pathlib import Path
from fed_backend.flare.processes import Child, Stopped, stop_on_signals
stop_on_signals()
folder = Path(sys.argv[1])
grandchild = "import time; time.sleep(600)"
child = f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); " \\
    f"open(r'{folder}/pids', 'w').write(f'{{os.getpid()}} {{p.pid}} '); p.wait()"
running = Child([sys.executable, "-c", child], cwd=folder, log=folder / "log")
try:
    time.sleep(600)
except Stopped:
    running.stop()
"""


def start(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], env=environment)
    pids = folder / "pids"
    until("child and grandchild", lambda: pids.exists() and pids.read_text().endswith(" "), 20)
    return parent, [int(pid) for pid in pids.read_text().split()]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_parent_takes_all_descendants_along(tmp_path: Path, number: signal.Signals) -> None:
    parent, pids = start(tmp_path)
    parent.send_signal(number)
    assert parent.wait(10) == 0
    assert all(gone(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    parent, (child, grandchild) = start(tmp_path)
    try:
        parent.kill()
        parent.wait()
        until("the child is gone", lambda: gone(child), 10)
    finally:
        os.kill(grandchild, signal.SIGKILL)  # its parent was no supervisor of ours


def test_a_childs_end_and_output_are_seen(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "print('said'); raise SystemExit(7)"], cwd=tmp_path, log=tmp_path / "log")
    until("its end", lambda: child.exit_code is not None, 20)
    assert child.exit_code == 7
    assert (tmp_path / "log").read_text() == "said\n"
    begun = time.monotonic()
    child.stop()
    assert time.monotonic() - begun < 2
