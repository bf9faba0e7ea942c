"""What the Slicer panel adds to a click, and how long it holds Slicer's event loop.

Run in the Slicer module's environment against a running site without users, whose studies have a case (a large one:
``--make-study FOLDER`` writes one of 12 million voxels and ends)::

    python bench/slicer_panel.py --make-study studies
    python bench/slicer_panel.py --site http://127.0.0.1:8000 --out bench/results/slicer.json

``click_overhead_ms``: from a point in a slice view to the changed mask in the scene, less the client's own round trip
for the same prompt. ``gui_gap_ms``: longest time between two turns of the event loop, in any step; ``gui_gaps_ms`` by
step: connecting, opening the case, its automatic mask, prompting, submitting, opening it again with its mask;
``gui_held_ms``: the GUI thread's own processor time within one turn, which other programs do not disturb.
``submit_ms``: from the button to the receipt. Medians of the repetitions; gaps are the largest seen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("tests/slicer", "SlicerFedSeg", "SlicerFedSeg/Testing")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


class Gaps:
    """The longest time between two turns of the event loop since the last :meth:`reset`."""

    def __init__(self, qapp: Any) -> None:
        from PySide6 import QtCore

        self._last, self._used = time.perf_counter(), time.thread_time()
        self.longest = self.held = 0.0
        self._timer = QtCore.QTimer(qapp)
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._turn)
        self._timer.start()

    def _turn(self) -> None:
        now, used = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.held = max(self.held, used - self._used)
        self._last, self._used = now, used

    def during(self, action: Callable[[], T]) -> tuple[T, tuple[float, float]]:
        """The action's result, and while it ran in milliseconds: the longest gap, the most computing within one."""
        self._last, self._used, self.longest, self.held = time.perf_counter(), time.thread_time(), 0.0, 0.0
        result = action()
        self._turn()
        return result, (round(self.longest * 1e3, 1), round(self.held * 1e3, 1))


def start_panel(folder: Path) -> tuple[Any, Any]:
    """Slicer's scene and the panel, as the tests have them."""
    import slicer
    from conftest import MODULE  # noqa: F401  puts the module on the path
    from PySide6 import QtCore, QtWidgets
    from standins import mini_slicer, pythonqt, scripted, widgets

    mini_slicer.boot()
    slicer.app.slicerUserSettingsFilePath = str(folder / "Slicer.ini")
    qapp = QtWidgets.QApplication(["slicer"])
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder))
    for part in (pythonqt, widgets, scripted):
        part.install()
    from panel_driver import PanelDriver

    return qapp, PanelDriver(qapp, folder)


def take_tool(panel: Any) -> Any:
    """Agree, take the pointing tool; returns the open case."""
    model = next(model.name for model in panel.view.site.models if model.prompts)
    panel.choose(panel.ui.modelBox, model)
    panel.widget.controller.connection.agree()
    panel.click(panel.ui.includeButton)
    settle(panel)
    return panel.widget.controller.casework.case


def make_study(folder: Path) -> None:
    """A volume of 240 x 240 x 208 voxels with a bright block, as an MR series may be."""
    import numpy as np
    from FedSegLib.grid import Grid
    from FedSegLib.voxels import Voxels, image_file

    array = np.random.default_rng(0).normal(100, 12, (208, 240, 240)).astype(np.int16)
    array[50:120, 80:180, 60:140] += 90
    affine = np.diag([0.9, 0.9, 1.2, 1.0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "large.nrrd").write_bytes(image_file(Voxels(array, Grid((240, 240, 208), affine))))


def settle(panel: Any) -> None:
    """Until nothing is under way."""
    panel.until(lambda: not panel.view.live.asking and not panel.widget.controller.busy, "for the answers")


def await_step(panel: Any, step: int) -> None:
    """Until the session is beyond a step."""
    live = panel.widget.controller.live
    panel.until(lambda: live.session.step > step and not panel.view.live.asking, "for the answer")


def measure(panel: Any, case: Any, repetitions: int) -> dict[str, float]:
    """Clicks through the panel and through the client alone, by turns, at the same places."""
    import slicer
    from FedSegLib.live.protocol import Prompt
    from FedSegLib.scene import Pointer

    controller = panel.widget.controller
    volume = volume_of(case)
    node = slicer.mrmlScene.GetNodeByID(case.pointers[Pointer.INCLUDE])
    shape = volume.GetImageData().GetDimensions()
    calls, session, consent = controller.live._calls(), controller.live.session, controller.live._consent
    through_panel, alone = [], []
    for number in range(repetitions):
        voxel = [n // 2 for n in shape]
        voxel[0] += number % 5 - 2
        world = _world(volume, voxel)
        settle(panel)
        step = controller.live.session.step
        start = time.perf_counter()
        node.AddControlPointWorld(*world)
        await_step(panel, step)
        through_panel.append(time.perf_counter() - start)
        panel.click(panel.ui.undoButton)
        settle(panel)
        prompt = Prompt(controller.live.label, controller.live.axis, foreground=((voxel[0], voxel[1], voxel[2]),))
        start = time.perf_counter()
        calls.prompt(session.id, prompt, consent)
        alone.append(time.perf_counter() - start)
        calls.undo(session.id)
    whole, own = statistics.median(through_panel), statistics.median(alone)
    return {
        "click_ms": round(whole * 1e3, 1),
        "client_ms": round(own * 1e3, 1),
        "click_overhead_ms": round((whole - own) * 1e3, 1),
    }


def _world(volume: Any, voxel: list[int]) -> list[float]:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return [float(x) for x in matrix.MultiplyPoint([*voxel, 1.0])[:3]]


def submit_seconds(panel: Any) -> float:
    """From the button to the receipt."""
    start = time.perf_counter()
    panel.ui.nothingBox.checked = True
    panel.click(panel.ui.submitButton)
    panel.until(lambda: panel.view.case.submitted, "for the receipt")
    return time.perf_counter() - start


def reopen(panel: Any) -> None:
    """Open the case again, with the mask that was submitted."""
    panel.widget.controller.casework.open_case(panel.view.case.id)
    panel.until(lambda: panel.view.case is not None and panel.view.case.reopened, "for the case")


def run(qapp: Any, panel: Any, site: str, repetitions: int) -> dict[str, Any]:
    """Every step, with the longest gap in each."""
    import panel_driver

    panel_driver.PATIENCE_SECONDS = 300.0
    gaps, longest = Gaps(qapp), {}
    longest["connect"] = gaps.during(lambda: panel.connect(site))[1]
    longest["open"] = gaps.during(panel.open_case)[1]
    longest["segment"] = gaps.during(panel.segment)[1]
    case = take_tool(panel)
    size = [int(n) for n in volume_of(case).GetImageData().GetDimensions()]
    figures, longest["prompt"] = gaps.during(lambda: measure(panel, case, repetitions))
    seconds, longest["submit"] = gaps.during(lambda: submit_seconds(panel))
    longest["reopen"] = gaps.during(lambda: reopen(panel))[1]
    return {
        **figures,
        "submit_ms": round(seconds * 1e3, 1),
        "gui_gap_ms": max(gap for gap, _ in longest.values()),
        "gui_gaps_ms": {step: gap for step, (gap, _) in longest.items()},
        "gui_held_ms": {step: held for step, (_, held) in longest.items()},
        "voxels": size[0] * size[1] * size[2],
    }


def volume_of(case: Any) -> Any:
    """The case's volume node."""
    import slicer

    return slicer.mrmlScene.GetNodeByID(case.volume)


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--site", default="", help="address of a running site")
    parser.add_argument("--make-study", type=Path, metavar="FOLDER", help="write a large study there, and end")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.make_study is not None:
        make_study(options.make_study)
        return
    if not options.site:
        parser.error("name a running site with --site")
    with tempfile.TemporaryDirectory() as name:
        qapp, panel = start_panel(Path(name))
        figures = run(qapp, panel, options.site, options.repetitions)
        panel.close()
    figures |= {"repetitions": options.repetitions, "machine": f"{platform.machine()}, {os.cpu_count()} processors"}
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
