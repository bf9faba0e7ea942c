"""The open case in Slicer's scene: image, segmentation, prompts.

Everything goes through storage nodes and module logics, so the same lines run in Slicer and under PyPI's slicer-core.
Segments are known by the names of the site's label schema, never by their order. All calls belong to the GUI thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from ..comparing import Differences, differences
from ..errors import GeometryMismatch
from ..grid import Array, merge_labels, split_labels
from ..language import tr as _
from ..protocol import LabelSchema, Mask, Prompts
from ..voxels import Voxels, mask_file
from .plots import show_series
from .pointers import (
    SCRIBBLES,
    Pointer,
    box_node,
    lasso_node,
    point_node,
    read_box,
    read_points,
    scribble_node,
    world_to_ijk,
)
from .segments import (
    add_segment,
    checked_labels,
    follow,
    lay_out,
    layout_stamp,
    named_segments,
    refuse_foreign,
    segment_mask,
    write_masks,
)
from .volumes import (
    find_node,
    load_volume,
    make_volume,
    read_labels,
    shape_kji,
    volume_grid,
    volume_voxels,
    write_image,
)

if TYPE_CHECKING:
    from ..decoding import Image
    from .canvas import Canvas
    from .comparison import SceneComparison

_WITHOUT_POSITIONS = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class SceneCase:
    """Ids of the nodes of an open case.

    Attributes:
        scribbles: a segmentation that strokes are painted in.
        positions: False for kinds of image that store none.
        adopted: True when the volume was in the scene before; it stays when the case is closed.
    """

    name: str
    volume: str
    segmentation: str
    pointers: dict[Pointer, str]
    scribbles: str
    schema: LabelSchema
    positions: bool
    adopted: bool = False


class SlicerScene:
    """Slicer's MRML scene, as the controller needs it."""

    def __init__(self) -> None:
        self._comparison: SceneComparison | None = None
        self._following: dict[str, int] = {}
        """By a case's segmentation: the observer of its volume that keeps the two together."""

    def open_image(self, path: Path, name: str, schema: LabelSchema, image: Image | None = None) -> SceneCase:
        """Load an image file and give it an empty segment for every structure of the schema.

        Args:
            image: what the file holds, where it was read already.

        Raises:
            ImageUnreadable: Slicer finds no volume in the file; the scene is as it was.
        """
        positions = path.suffix.lower() not in _WITHOUT_POSITIONS
        volume = load_volume(path, name) if image is None else make_volume(image, name)
        return self._lay_table(volume, name, schema, positions, adopted=False)

    def volume_name(self, node_id: str) -> str:
        """Name of a volume of the scene; CaseGone when it left."""
        return str(find_node(node_id, _("The volume")).GetName())

    def export_volume(self, node_id: str, path: Path) -> Voxels | None:
        """A copy of a volume's voxels and where they lie, and nothing else of it, for the worker to write.

        Volumes of colours are written into ``path`` by Slicer, as an uncompressed NRRD file; None is returned.

        Raises:
            CaseGone: it left the scene. ImageUnreadable: it holds no voxels. FedSegError: the disk is full.
        """
        volume = find_node(node_id, _("The volume"))
        voxels = volume_voxels(volume)
        if voxels is None:
            write_image(volume, path)
        return voxels

    def adopt_volume(self, node_id: str, name: str, schema: LabelSchema) -> SceneCase:
        """Make a volume of the scene the open case."""
        return self._lay_table(find_node(node_id, _("The volume")), name, schema, True, adopted=True)

    def _lay_table(self, volume: Any, name: str, schema: LabelSchema, positions: bool, *, adopted: bool) -> SceneCase:
        scene = slicer.mrmlScene
        segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segmentation")
        follow(segmentation, volume)
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for label in schema.labels:
            add_segment(segmentation, label, label.name)
        lay_out(segmentation, volume, schema, np.zeros(shape_kji(volume), np.uint8))
        pointers = {
            Pointer.INCLUDE: point_node(f"{name} include", (0.1, 0.8, 0.2)),
            Pointer.EXCLUDE: point_node(f"{name} exclude", (0.9, 0.15, 0.1)),
            Pointer.BOX: box_node(f"{name} box"),
            Pointer.LASSO: lasso_node(f"{name} lasso"),
        }
        scribbles = scribble_node(f"{name} scribbles", volume)
        self._keep_together(volume, segmentation.GetID(), scribbles)
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActiveVolumeID(volume.GetID())
        logic.PropagateVolumeSelection(1)
        return SceneCase(name, volume.GetID(), segmentation.GetID(), pointers, scribbles, schema, positions, adopted)

    def _keep_together(self, volume: Any, segmentation: str, scribbles: str) -> None:
        """Let what is painted go along when the volume is put under a transform, or taken from one."""

        def moved(caller: Any, event: Any) -> None:
            for node_id in (segmentation, scribbles):
                node = slicer.mrmlScene.GetNodeByID(node_id)
                if node is not None:
                    follow(node, caller)

        event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        self._following[segmentation] = volume.AddObserver(event, moved)

    def close_case(self, case: SceneCase) -> None:
        """Remove the case's nodes; those that are gone already are no matter."""
        self.put_away(case)
        for node_id in (case.segmentation, *(() if case.adopted else (case.volume,))):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)

    def put_away(self, case: SceneCase) -> None:
        """Remove what only prompting needs; image and segmentation stay."""
        self.stop_pointing()
        tag, volume = self._following.pop(case.segmentation, None), slicer.mrmlScene.GetNodeByID(case.volume)
        if tag is not None and volume is not None:
            volume.RemoveObserver(tag)
        for node_id in (*case.pointers.values(), case.scribbles):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)

    def has_marks(self, case: SceneCase) -> bool:
        """True when any structure of the schema holds a voxel.

        Raises:
            CaseGone: volume or segmentation left the scene.
        """
        volume, segmentation = case_nodes(case)
        found = named_segments(segmentation, case.schema)
        return any(bool(segment_mask(segmentation, key, volume).any()) for _name, key in found)

    def stamp(self, case: SceneCase) -> tuple[int, ...]:
        """Changes whenever the structures' voxels were touched.

        Raises:
            CaseGone: volume or segmentation left the scene.
        """
        return layout_stamp(case_nodes(case)[1], case.schema)

    def show_mask(self, case: SceneCase, mask: Mask, folder: Path) -> None:
        """Put a mask from the site into the segmentation, in place, only where it differs.

        Raises:
            CaseGone, GeometryMismatch, LabelMismatch, ImageUnreadable: nothing was changed.
        """
        volume, segmentation = case_nodes(case)
        labels = self._read_mask(case, mask, folder)
        follow(segmentation, volume)
        present = named_segments(segmentation, case.schema, add_missing=True)
        write_masks(segmentation, volume, case.schema, present, labels)

    def _read_mask(self, case: SceneCase, mask: Mask, folder: Path) -> Array:
        """A mask from the site as the schema's label values [k, j, i], if it lies on the image's voxels."""
        volume = case_nodes(case)[0]
        if mask.voxels is not None:
            volume_grid(volume).check_same(mask.voxels.grid, _("The site's mask"), positions=case.positions)
            return mask.voxels.array
        path = folder / f"mask{mask.suffix}"
        path.write_bytes(mask.content)
        try:
            labels, grid = read_labels(path)
        finally:
            path.unlink()
        volume_grid(volume).check_same(grid, _("The site's mask"), positions=case.positions)
        return merge_labels(split_labels(labels, mask.label_names, case.schema), case.schema, allow_empty=True)

    def export_mask(self, case: SceneCase, path: Path, *, allow_empty: bool = False) -> None:
        """Write what :meth:`take_mask` gives as one labelmap file."""
        taken = self.take_mask(case, allow_empty=allow_empty)
        path.write_bytes(mask_file(taken.array, taken.grid.affine, "".join(path.suffixes)))

    def take_mask(self, case: SceneCase, *, allow_empty: bool = False) -> Voxels:
        """A copy of the segmentation as the schema's values, on the image's voxels.

        Raises:
            CaseGone: volume or segmentation left the scene.
            GeometryMismatch: somebody put the segmentation under another transform than its volume.
            LabelMismatch: a segment outside the schema holds voxels, a name occurs twice, or structures overlap.
            EmptyMask: nothing is marked and ``allow_empty`` is False.
        """
        volume, segmentation = case_nodes(case)
        if segmentation.GetTransformNodeID() != volume.GetTransformNodeID():
            raise GeometryMismatch(
                _("The image and its segmentation lie under different transforms."),
                _("In the Transforms module, put the segmentation under its image's transform, and check the mask."),
            )
        refuse_foreign(segmentation, volume, case.schema)
        return Voxels(checked_labels(segmentation, volume, case.schema, allow_empty=allow_empty), volume_grid(volume))

    def point(self, case: SceneCase, pointer: Pointer) -> None:
        """Let the next clicks in the slice views place points (or a shape) until :meth:`stop_pointing`.

        Scribbles are painted, not placed: the panel's editor does that.
        """
        if pointer in SCRIBBLES:
            self.stop_pointing()
            return
        shape = pointer in (Pointer.BOX, Pointer.LASSO)
        node = find_node(case.pointers[pointer], _("The case's points"))
        logic = slicer.app.applicationLogic()
        selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        if shape:
            node.RemoveAllControlPoints()
        interaction.SetPlaceModePersistence(0 if shape else 1)
        interaction.SetCurrentInteractionMode(interaction.Place)

    def canvas(self, case: SceneCase, placed: Callable[[Pointer], None]) -> Canvas:
        """Listen to what is placed on the case."""
        from .canvas import Canvas  # it needs this file's SceneCase

        return Canvas(case, placed)

    def show_rounds(
        self, title: str, sites: tuple[str, ...], rounds: tuple[int, ...], dice: tuple[tuple[float, ...], ...]
    ) -> None:
        """Plot one curve per site."""
        show_series(title, (_("Round"), rounds), dict(zip(sites, dice, strict=True)))

    def show_comparison(
        self, case: SceneCase, masks: tuple[Mask, Mask], names: tuple[str, str], folder: Path, found: Differences | None
    ) -> Differences:
        """Show two masks of the case beside its own; returns how they differ.

        Args:
            found: how they differ, where that is known already.

        Raises:
            CaseGone, GeometryMismatch, LabelMismatch, ImageUnreadable: nothing is shown.
        """
        from .comparison import SceneComparison  # it needs this file's SceneCase

        one, two = (self._read_mask(case, mask, folder) for mask in masks)
        if found is None:
            found = differences(one, two, case.schema, volume_grid(case_nodes(case)[0]).millilitres)
        self.end_comparison()
        self._comparison = SceneComparison(case, names, one, two, found.labels)
        return found

    def set_comparison_mode(self, mode: str) -> None:
        """Show "difference", "side by side" or "blended"."""
        if self._comparison is not None:
            self._comparison.show(mode)

    def end_comparison(self) -> None:
        """Take the comparison away."""
        comparison, self._comparison = self._comparison, None
        if comparison is not None:
            comparison.close()

    def show_curve(self, title: str, points: tuple[tuple[str, float], ...]) -> None:
        """Plot values in order."""
        numbers = tuple(range(1, len(points) + 1))
        names, dice = tuple(point[0] for point in points), tuple(point[1] for point in points)
        show_series(title, (_("Correction"), numbers), {_("Dice"): dice}, names)

    def stop_pointing(self) -> None:
        """Give the mouse back to Slicer."""
        slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()

    def clear_prompts(self, case: SceneCase) -> None:
        """Remove every point and the box."""
        for node_id in case.pointers.values():
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if node is not None:
                node.RemoveAllControlPoints()

    def prompts(self, case: SceneCase) -> Prompts:
        """Points and box as voxels of the image, through whatever transforms lie between.

        Raises:
            CaseGone: the volume or the points left the scene.
            PromptOutside: a point, or the whole box, is not in the image.
        """
        volume = case_nodes(case)[0]
        to_ijk = world_to_ijk(volume)
        grid = volume_grid(volume)
        return Prompts(
            foreground=read_points(case.pointers[Pointer.INCLUDE], to_ijk, grid),
            background=read_points(case.pointers[Pointer.EXCLUDE], to_ijk, grid),
            box=read_box(case.pointers[Pointer.BOX], to_ijk, grid),
        )


def case_nodes(case: SceneCase) -> tuple[Any, Any]:
    volume = find_node(case.volume, _("The image of '{name}'").format(name=case.name))
    return volume, find_node(case.segmentation, _("The segmentation of '{name}'").format(name=case.name))
