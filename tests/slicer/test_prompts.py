"""L1: points and a box in the slice views become voxels of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_desk import Desk, add_transform, affine_of
from FedSegLib.errors import PromptOutside


def put(scene: Any, case: Any, pointer: str, ijk: tuple[float, float, float], to_world: np.ndarray[Any, Any]) -> None:
    from FedSegLib.scene import Pointer

    world = (to_world @ [*ijk, 1.0])[:3]
    scene.GetNodeByID(case.pointers[Pointer[pointer]]).AddControlPointWorld(*world)


@pytest.mark.parametrize("kind", ["RAS", "anisotropic", "oblique", "sagittal"])
@pytest.mark.parametrize("moved", [False, True])
def test_points_become_voxels_through_transforms(desk: Desk, scene: Any, kind: str, moved: bool) -> None:
    case = desk.open(kind)
    to_world = desk.affine
    if moved:
        matrix = affine_of("oblique")
        scene.GetNodeByID(case.volume).SetAndObserveTransformNodeID(add_transform(scene, matrix).GetID())
        to_world = matrix @ desk.affine
    put(scene, case, "INCLUDE", (1, 2, 3), to_world)
    put(scene, case, "INCLUDE", (5.4, 6.4, 0.4), to_world)
    put(scene, case, "EXCLUDE", (0, 8, 4), to_world)
    prompts = desk.code.prompts(case)
    assert prompts.foreground == ((1, 2, 3), (5, 6, 0))
    assert prompts.background == ((0, 8, 4),)
    assert prompts.box is None
    desk.code.clear_prompts(case)
    assert not desk.code.prompts(case)


def draw_box(scene: Any, case: Any, low: list[float], high: list[float], affine: np.ndarray[Any, Any]) -> None:
    """A box whose edges run along the image's axes, from one voxel corner to the other."""
    import slicer
    from FedSegLib.scene import Pointer

    node = scene.GetNodeByID(case.pointers[Pointer.BOX])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    to_world = np.eye(4)
    to_world[:3, :3] = affine[:3, :3] / spacing
    to_world[:3, 3] = (affine @ [*(np.array(low) + high) / 2, 1.0])[:3]
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(to_world))
    node.SetSize(*((np.array(high) - low) * spacing))


@pytest.mark.parametrize("kind", ["RAS", "anisotropic", "oblique"])
def test_a_box_becomes_the_voxels_inside_it(desk: Desk, scene: Any, kind: str) -> None:
    case = desk.open(kind)
    draw_box(scene, case, [0.6, 1.6, 1.6], [4.4, 5.4, 2.4], desk.affine)
    assert desk.code.prompts(case).box == (1, 2, 2, 4, 5, 2)
    draw_box(scene, case, [-3, -3, 1.6], [100, 5.4, 2.4], desk.affine)
    assert desk.code.prompts(case).box == (0, 0, 2, 6, 5, 2)
    draw_box(scene, case, [10, 2, 2], [12, 4, 4], desk.affine)
    with pytest.raises(PromptOutside):
        desk.code.prompts(case)


def test_a_point_outside_the_image_is_refused(desk: Desk, scene: Any) -> None:
    case = desk.open()
    put(scene, case, "INCLUDE", (1, 1, 1), desk.affine)
    put(scene, case, "INCLUDE", (7, 1, 1), desk.affine)
    with pytest.raises(PromptOutside, match="Point 2 of 'case-01 include'"):
        desk.code.prompts(case)


def test_pointing_uses_slicers_place_mode(desk: Desk) -> None:
    import slicer
    from FedSegLib.scene import Pointer

    case = desk.open()
    logic = slicer.app.applicationLogic()
    interaction = logic.GetInteractionNode()
    desk.code.point(case, Pointer.EXCLUDE)
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert logic.GetSelectionNode().GetActivePlaceNodeID() == case.pointers[Pointer.EXCLUDE]
    desk.code.stop_pointing()
    assert interaction.GetCurrentInteractionMode() != interaction.Place
