"""Run inside 3D Slicer: opens the module, uses every section, runs the self-test, and ends with 0 or 1.

``Slicer --no-splash --additional-module-path SlicerFedSeg --python-script SlicerFedSeg/Testing/smoke.py``
"""

import sys
import traceback


def main():
    """Open, look, test."""
    import slicer

    slicer.util.selectModule("FedSeg")
    widget = slicer.modules.fedseg.widgetRepresentation().self()
    assert len(widget.sections) >= 9, "a section is missing"
    for section in widget.sections:
        assert section.root.visible or section.FORM in ("Compare", "Learning", "Federation"), section.FORM
    segment = next(section for section in widget.sections if section.FORM == "Segment")
    assert not segment.ui.undoButton.icon.isNull(), "icons cannot be drawn"
    widget.exit()
    widget.enter()
    import FedSeg

    FedSeg.FedSegTest().runTest()
    slicer.util.reloadScriptedModule("FedSeg")


if __name__ == "__main__":
    import slicer.util

    try:
        main()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        slicer.util.exit(1)
    else:
        slicer.util.exit(0)
