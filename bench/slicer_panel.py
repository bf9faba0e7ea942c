"""What the Slicer panel adds to a click, and how long it holds Slicer's event loop.

Run in the Slicer module's environment against a running site without users, whose studies have a case::

    python bench/slicer_panel.py --site http://127.0.0.1:8000 --out bench/results/slicer.json

``click_overhead_ms``: from a point in a slice view to the changed mask in the scene, less the client's own round trip
for the same prompt. ``gui_gap_ms``: longest time between two turns of the event loop while prompting. ``submit_ms``:
from the button to the receipt. Medians of the repetitions; the gap is the largest seen.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("tests/slicer", "SlicerFedSeg", "SlicerFedSeg/Testing")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


class Gaps:
    """The longest time between two turns of the event loop since the last :meth:`reset`."""

    def __init__(self, qapp: Any) -> None:
        from PySide6 import QtCore

        self._last = time.perf_counter()
        self.longest = 0.0
        self._timer = QtCore.QTimer(qapp)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._turn)
        self._timer.start()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def reset(self) -> None:
        """Start anew."""
        self._last, self.longest = time.perf_counter(), 0.0


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


def prepare(panel: Any, site: str) -> Any:
    """Connect, open a case, agree, take the pointing tool; returns the open case."""
    import panel_driver

    panel_driver.PATIENCE_SECONDS = 120.0
    panel.connect(site)
    panel.open_case()
    model = next(model.name for model in panel.view.site.models if model.prompts)
    panel.choose(panel.ui.modelBox, model)
    panel.widget.controller.connection.agree()
    panel.click(panel.ui.includeButton)
    settle(panel)
    return panel.widget.controller.casework.case


def settle(panel: Any) -> None:
    """Until nothing is under way."""
    panel.until(lambda: not panel.view.live.asking and not panel.widget.controller.busy, "for the answers")


def await_step(panel: Any, step: int) -> None:
    """Until the session is beyond a step; looks often, so that waiting itself is not measured."""
    live = panel.widget.controller.live
    while live.session.step <= step or panel.view.live.asking:
        panel.process()


def measure(panel: Any, case: Any, gaps: Gaps, repetitions: int) -> dict[str, float]:
    """Clicks through the panel and through the client alone, by turns, at the same places."""
    import slicer
    from FedSegLib.live.protocol import Prompt
    from FedSegLib.scene import Pointer

    controller = panel.widget.controller
    volume = slicer.mrmlScene.GetNodeByID(case.volume)
    node = slicer.mrmlScene.GetNodeByID(case.pointers[Pointer.INCLUDE])
    shape = volume.GetImageData().GetDimensions()
    calls, session, consent = controller.live._calls(), controller.live.session, controller.live._consent
    through_panel, alone, longest = [], [], 0.0
    for number in range(repetitions):
        voxel = [n // 2 for n in shape]
        voxel[0] += number % 5 - 2
        world = _world(volume, voxel)
        settle(panel)
        step = controller.live.session.step
        gaps.reset()
        start = time.perf_counter()
        node.AddControlPointWorld(*world)
        await_step(panel, step)
        through_panel.append(time.perf_counter() - start)
        longest = max(longest, gaps.longest)
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
        "gui_gap_ms": round(longest * 1e3, 1),
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


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--site", required=True, help="address of a running site")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        qapp, panel = start_panel(Path(name))
        gaps = Gaps(qapp)
        case = prepare(panel, options.site)
        figures: dict[str, Any] = measure(panel, case, gaps, options.repetitions)
        figures["submit_ms"] = round(submit_seconds(panel) * 1e3, 1)
        panel.close()
    figures |= {"repetitions": options.repetitions, "machine": f"{platform.machine()}, {os.cpu_count()} processors"}
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
