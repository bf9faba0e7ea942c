"""Stand-ins for what PyPI's slicer-core lacks of Slicer, for tests only; never shipped with the extension.

Real in the tests: the MRML scene, every module logic, storage nodes, segmentations, markups, ``slicer.util``, and Qt
itself (PySide6, offscreen). Stood in for: the PythonQt flavour of Qt's interface, ``ctk`` and qMRML widgets that the
panel uses, ``slicer.app``, and the base classes of scripted modules. All are strict: what they do not know raises.
"""
