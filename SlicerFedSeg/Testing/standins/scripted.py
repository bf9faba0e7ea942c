"""Stand-ins for the base classes of scripted modules (``slicer.ScriptedLoadableModule``)."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer


class Description:
    """What a module says about itself; setting anything that Slicer does not know raises."""

    __slots__ = (
        "acknowledgementText",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "title",
    )


class ScriptedLoadableModule:
    """The module; ``parent`` is its description."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent or Description()


class ScriptedLoadableModuleWidget:
    """The panel's frame; Slicer makes ``parent`` and its layout."""

    def __init__(self, parent: Any = None) -> None:
        qt = sys.modules["qt"]
        self.parent = parent or qt.QWidget()
        self.layout = qt.QVBoxLayout(self.parent)
        self.layout.setContentsMargins(4, 4, 4, 4)

    def setup(self) -> None:
        """Slicer adds its Reload section here in developer mode; nothing otherwise."""

    def resourcePath(self, name: str) -> str:
        """Path of a file in the module's Resources folder."""
        module = sys.modules[type(self).__module__].__file__
        assert module is not None
        return str(Path(module).parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    """Nothing that the module uses."""

    def __init__(self, parent: Any = None) -> None:
        pass


class ScriptedLoadableModuleTest(unittest.TestCase):
    """As in Slicer: a TestCase whose ``runTest`` runs everything."""


def install() -> None:
    """Make ``from slicer.ScriptedLoadableModule import ...`` work."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, cls.__name__, cls)
    sys.modules[module.__name__] = module
    slicer.ScriptedLoadableModule = module
