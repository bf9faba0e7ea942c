"""A paint brush for scribbles: Slicer's own Paint effect on the case's scribble segmentation, without its panel."""

import slicer


def has_node(editor):
    """True when the editor keeps its state in the scene; File > Close Scene can leave it a node that is in none."""
    node = editor.mrmlSegmentEditorNode()
    return node is not None and node.GetScene() is not None


class ScribbleBrush:
    """Holds an invisible Segment Editor; the strokes end up in the case's scribbles."""

    def __init__(self):
        self._editor = None
        self._held = None

    def take(self, case, inside):
        """Paint strokes of a case, inside or outside the structure."""
        if self._held == (case.scribbles, inside):
            return
        find = slicer.mrmlScene.GetNodeByID
        editor = self._prepared()
        editor.setSegmentationNode(find(case.scribbles))
        editor.setSourceVolumeNode(find(case.volume))
        editor.setCurrentSegmentID("draw" if inside else "erase")
        editor.setActiveEffectByName("Paint")
        effect = editor.activeEffect()
        effect.setCommonParameter("BrushSphere", "0")
        effect.setCommonParameter("BrushRelativeDiameter", "1.5")
        self._held = (case.scribbles, inside)

    def lay_down(self):
        """Give the mouse back."""
        if self._held is not None:
            self._held = None
            self._editor.setActiveEffectByName("")

    def close(self):
        """Take the editor down."""
        self.lay_down()
        if self._editor is not None:
            self._editor.setMRMLScene(None)
            self._editor = None

    def _prepared(self):
        if self._editor is None:
            self._editor = slicer.qMRMLSegmentEditorWidget()
            self._editor.setMRMLScene(slicer.mrmlScene)
        if not has_node(self._editor):
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetName("FedSeg scribbles")
            node.SetHideFromEditors(True)
            self._editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNode(node))
        return self._editor
