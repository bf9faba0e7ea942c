"""The whole chain with real processes: hub, sites, couriers, annotators, report; and Ctrl-C in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "fed_backend.demo"]
SMALL = ["--sites", "north,coast", "--cases", "4", "--image-size", "64"]


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def left_behind(folder: Path) -> list[str]:
    """Command lines of living processes that mention ``folder``."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and str(folder) in str(words):
                found.append(" ".join(words)[:200])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def run_demo(out: Path) -> str:
    """One small run to the end; returns what it printed."""
    options = [*SMALL, "--rounds", "2", "--local-steps", "60", "--round-steps", "40", "--out", str(out)]
    run = subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    return run.stdout


def read_report(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Output folder and printed text of a small run."""
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, run_demo(out)


@pytest.fixture(scope="module")
def report(finished: tuple[Path, str]) -> dict[str, Any]:
    return read_report(finished[0])


@pytest.mark.slow
def test_the_report_says_how_it_was_made(report: dict[str, Any]) -> None:
    assert set(report) == {
        "engine", "mutual_tls", "method", "model", "seed", "sites", "rounds", "seconds_total", "threshold_baseline",
    }  # fmt: skip
    assert report["engine"] == "nvflare"
    assert report["mutual_tls"] is True
    assert (report["method"], report["model"], report["seed"]) == ("fedavg", "unet", 0)
    assert 0 < report["threshold_baseline"] < 1


@pytest.mark.slow
def test_every_site_learned_from_its_corrections(report: dict[str, Any]) -> None:
    assert [site["name"] for site in report["sites"]] == ["north", "coast"]
    for site in report["sites"]:
        assert site["cases"] == 1
        assert site["dice_local"] > site["dice_before"] + 0.05
        assert site["dice_federated"] > site["dice_before"] + 0.05
        assert site["worst_case"] <= site["dice_federated"]
        assert site["promoted"] >= 1


@pytest.mark.slow
def test_every_round_moved_adapters_both_ways_and_was_judged_at_every_site(report: dict[str, Any]) -> None:
    assert [entry["round"] for entry in report["rounds"]] == [1, 2]
    for entry in report["rounds"]:
        assert entry["bytes_up"] > 100_000
        assert entry["bytes_down"] > 100_000
        assert set(entry["dice"]) == {"north", "coast"}
        assert all(0 <= value <= 1 for value in entry["dice"].values())


@pytest.mark.slow
def test_an_equal_seed_gives_an_equal_report(report: dict[str, Any], tmp_path: Path) -> None:
    """All but the times, and the few bytes by which a header with other identifiers compresses or counts otherwise."""
    run_demo(tmp_path / "again")
    again = read_report(tmp_path / "again")
    assert again["sites"] == report["sites"]
    assert [entry["dice"] for entry in again["rounds"]] == [entry["dice"] for entry in report["rounds"]]
    assert again["threshold_baseline"] == report["threshold_baseline"]
    for new, old in zip(again["rounds"], report["rounds"], strict=True):
        assert new["bytes_up"] == pytest.approx(old["bytes_up"], rel=0.01)
        assert new["bytes_down"] == pytest.approx(old["bytes_down"], rel=0.01)


@pytest.mark.slow
def test_labels_and_test_cases_stay_with_the_annotator(finished: tuple[Path, str]) -> None:
    out, _ = finished
    for site in ("north", "coast"):
        home = out / "sites" / site
        given = sorted(path.name for path in (home / "studies").iterdir())
        assert given == sorted(path.name for path in (out / "data" / site / "images").iterdir())
        corrected = {path.name for path in (home / "state").rglob("*") if f"{site}-03" in path.name}
        assert not any("label" in name or "mask" in name for name in corrected)
        assert f"{site}-03" not in (home / "split.csv").read_text(), "the test case is not in the site's split"


@pytest.mark.slow
def test_the_table_is_printed_and_nothing_runs_on(finished: tuple[Path, str]) -> None:
    out, text = finished
    assert "Dice on test cases" in text
    assert "report.html" in text
    until(lambda: not left_behind(out), "processes are left behind", 10)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = subprocess.Popen(
        [*COMMAND, *SMALL, "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # As in a terminal: where the tests run in the background, Ctrl-C would be ignored by all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Two sites, the hub, and the FLARE server that the hub has started.
        until(lambda: len(psutil.Process(run.pid).children(recursive=True)) >= 4, "the servers are not started", 240)
        family = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGINT)
        text, _ = run.communicate(timeout=120)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    assert run.returncode == 130
    assert "nothing is left running" in text
    until(lambda: not left_behind(out), "processes are left behind", 10)
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), "children live", 10)


def test_an_output_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("ten years")
    run = subprocess.run(
        [*COMMAND, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert "is not empty" in run.stdout
    assert "--out" in run.stdout
    assert precious.read_text() == "ten years"


def test_an_unknown_generated_site_is_named(tmp_path: Path) -> None:
    run = subprocess.run(
        [*COMMAND, "--sites", "moon", "--out", str(tmp_path / "o")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "no generated site 'moon'" in run.stdout
    assert "north, coast, valley" in run.stdout
