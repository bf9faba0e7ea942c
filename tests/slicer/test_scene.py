"""L1: scene code with Slicer's real core: voxels, geometry, names, prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import site_peer
from case_desk import (
    SCHEMA,
    SHAPE,
    Desk,
    add_transform,
    affine_of,
    edit,
    layers,
    mask_of,
    random_image,
    random_labels,
    segmentation_of,
)
from FedSegLib.errors import CaseGone, EmptyMask, GeometryMismatch, ImageUnreadable, LabelMismatch
from FedSegLib.protocol import Mask
from volume_files import nifti, nrrd, read_nifti


@pytest.mark.parametrize("kind", ["RAS", "LPS", "anisotropic", "oblique", "sagittal"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_images_keep_every_voxel_and_place(desk: Desk, scene: Any, kind: str, suffix: str) -> None:
    import slicer
    import vtk

    affine = affine_of(kind)
    write = nrrd if suffix == ".nrrd" else nifti
    case = desk.open(kind, write(random_image(), affine), suffix)
    volume = scene.GetNodeByID(case.volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    found = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    assert np.allclose(found, affine, atol=1e-9 if suffix == ".nrrd" else 1e-4)
    assert np.array_equal(slicer.util.arrayFromVolume(volume).transpose(2, 1, 0), random_image())
    assert volume.GetStorageNode() is None  # the temporary file will be gone


@pytest.mark.parametrize("kind", ["RAS", "LPS", "anisotropic", "oblique", "sagittal"])
def test_masks_go_in_and_out_voxel_exact(desk: Desk, kind: str) -> None:
    case = desk.open(kind)
    labels = random_labels()
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    voxels, affine = desk.export(case)
    assert np.array_equal(voxels, labels)
    assert np.allclose(affine, desk.affine, atol=1e-9)


def test_an_image_that_the_worker_read_lives_as_long_as_its_volume(desk: Desk, scene: Any) -> None:
    import gc

    import slicer
    from FedSegLib.decoding import decode_image

    path = desk.folder / "image.nrrd"
    path.write_bytes(nrrd(random_image(), affine_of("oblique")))
    image = decode_image(path)
    path.unlink()
    case = desk.code.open_image(path, "case-01", SCHEMA, image)
    del image
    gc.collect()
    ballast = [np.full(SHAPE, -7, np.int16) for _ in range(50)]
    volume = scene.GetNodeByID(case.volume)
    assert np.array_equal(slicer.util.arrayFromVolume(volume).transpose(2, 1, 0), random_image())
    display = volume.GetDisplayNode()
    assert display.GetWindowLevelMin() < -900
    assert display.GetWindowLevelMax() > 900
    assert len(ballast) == 50
    desk.code.close_case(case)
    assert scene.GetNodeByID(case.volume) is None


def test_nifti_masks_go_in_and_out(desk: Desk) -> None:
    case = desk.open("oblique", nifti(random_image(), affine_of("oblique")), ".nii.gz")
    labels = random_labels()
    content = nifti(labels, desk.affine)
    desk.code.show_mask(case, Mask(content, ".nii.gz", SCHEMA.values(), "unet", None, {}), desk.folder)
    path = desk.folder / "out.nii.gz"
    desk.code.export_mask(case, path)
    assert np.array_equal(read_nifti(path.read_bytes()), labels)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_keep_every_pixel(desk: Desk, scene: Any, suffix: str, channels: int) -> None:
    import slicer
    from PIL import Image

    shape = (9, 7) if channels == 1 else (9, 7, 3)
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    path = desk.folder / f"image{suffix}"
    Image.fromarray(pixels).save(path)
    case = desk.code.open_image(path, "picture", SCHEMA)
    assert np.array_equal(slicer.util.arrayFromVolume(scene.GetNodeByID(case.volume))[0], pixels)
    labels = random_labels()[:, :, :1]
    desk.code.show_mask(case, mask_of(labels, np.diag([-1.0, -1.0, 1.0, 1.0])), desk.folder)
    voxels, affine = desk.export(case)
    assert np.array_equal(voxels, labels)
    assert np.array_equal(affine, np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_segments_have_the_schemas_names_and_colours(desk: Desk, scene: Any) -> None:
    case = desk.open()
    inside = segmentation_of(scene, case).GetSegmentation()
    segments = [inside.GetSegment(inside.GetNthSegmentID(n)) for n in range(inside.GetNumberOfSegments())]
    assert [segment.GetName() for segment in segments] == ["edema", "tumour"]
    assert np.allclose(segments[1].GetColor(), np.array([215, 60, 55]) / 255)


def test_the_models_own_values_are_translated_by_name(desk: Desk) -> None:
    case = desk.open()
    labels = random_labels(values=(0, 1, 2))  # 1 is tumour and 2 edema for this model
    desk.code.show_mask(case, mask_of(labels, desk.affine, {"tumour": 1, "edema": 2}), desk.folder)
    voxels, _ = desk.export(case)
    assert np.array_equal(voxels == 5, labels == 1)
    assert np.array_equal(voxels == 2, labels == 2)


def test_the_order_of_segments_does_not_matter(desk: Desk, scene: Any) -> None:
    case = desk.open()
    labels = random_labels()
    inside = segmentation_of(scene, case).GetSegmentation()
    inside.SetSegmentIndex("tumour", 0)
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    inside.SetSegmentIndex("edema", 0)
    assert np.array_equal(desk.export(case)[0], labels)


def test_a_second_result_is_written_in_place(desk: Desk, scene: Any) -> None:
    case = desk.open()
    first = random_labels()
    desk.code.show_mask(case, mask_of(first, desk.affine), desk.folder)
    labelmap = segmentation_of(scene, case).GetBinaryLabelmapInternalRepresentation("tumour")
    second = first.copy()
    second[2:4, 3:6, 1:3] = 7 - second[2:4, 3:6, 1:3]
    second[second == 7] = 0
    events: list[str] = []
    inside = segmentation_of(scene, case).GetSegmentation()
    inside.AddObserver(inside.SourceRepresentationModified, lambda *_: events.append("modified"))
    desk.code.show_mask(case, mask_of(second, desk.affine), desk.folder)
    assert np.array_equal(desk.export(case)[0], second)
    assert segmentation_of(scene, case).GetBinaryLabelmapInternalRepresentation("tumour") is labelmap
    assert events == ["modified"]
    assert layers(scene, case) == 1
    desk.code.show_mask(case, mask_of(second, desk.affine), desk.folder)
    assert events == ["modified"]  # an equal mask changes nothing


def test_edits_are_exported_and_a_new_result_replaces_them(desk: Desk, scene: Any) -> None:
    case = desk.open()
    desk.code.show_mask(case, mask_of(random_labels(values=(0, 2)), desk.affine), desk.folder)
    edema, tumour = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    edema[1:3, 1:4, 1:2] = True
    tumour[4:6, 5:7, 2:4] = True
    edit(scene, case, "edema", edema)
    edit(scene, case, "tumour", tumour)
    voxels, _ = desk.export(case)
    assert np.array_equal(voxels, 2 * edema + 5 * tumour)
    labels = random_labels(9)
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    assert np.array_equal(desk.export(case)[0], labels)


def test_a_segmentation_on_a_finer_grid_is_sampled_onto_the_image(desk: Desk, scene: Any) -> None:
    """Oversampling in Segment Editor gives the labelmap another grid than the image's."""
    import slicer

    case = desk.open("RAS")
    block = np.zeros(SHAPE, bool)
    block[2:5, 3:7, 1:4] = True
    edit(scene, case, "edema", block)
    inside = segmentation_of(scene, case).GetSegmentation()
    fine = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        segmentation_of(scene, case).GetBinaryLabelmapInternalRepresentation("edema"), finer(scene, case), fine
    )
    inside.GetSegment("edema").AddRepresentation("Binary labelmap", fine)
    assert np.array_equal(desk.export(case)[0] == 2, block)
    labels = random_labels()
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    assert np.array_equal(desk.export(case)[0], labels)


def finer(scene: Any, case: Any) -> Any:
    """An empty labelmap with three voxels for each of the image's along every axis, the same corners."""
    import slicer

    affine = affine_of("RAS")
    affine[:3, 3] += affine[:3, :3] @ np.full(3, -1 / 3)
    affine[:3, :3] /= 3
    grid = slicer.vtkOrientedImageData()
    grid.SetDimensions(*(3 * n for n in SHAPE))
    grid.AllocateScalars(3, 1)
    grid.GetPointData().GetScalars().Fill(0)
    grid.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    return grid


def test_a_deleted_segment_comes_back_with_the_next_result(desk: Desk, scene: Any) -> None:
    case = desk.open()
    segmentation_of(scene, case).GetSegmentation().RemoveSegment("tumour")
    labels = random_labels()
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    assert np.array_equal(desk.export(case)[0], labels)


def test_what_cannot_be_submitted(desk: Desk, scene: Any) -> None:
    case = desk.open()
    assert not desk.code.has_marks(case)
    with pytest.raises(EmptyMask):
        desk.export(case)
    assert not desk.export(case, allow_empty=True)[0].any()
    everything = np.ones(SHAPE, bool)
    inside = segmentation_of(scene, case).GetSegmentation()
    edit(scene, case, "edema", everything)
    assert desk.code.has_marks(case)
    foreign = inside.AddEmptySegment("", "lesion")
    assert np.array_equal(desk.export(case)[0], 2 * everything)  # empty, so harmless
    edit(scene, case, foreign, everything)
    with pytest.raises(LabelMismatch, match="'lesion' is not a structure of this site"):
        desk.export(case)
    inside.GetSegment(foreign).SetName("edema")
    with pytest.raises(LabelMismatch, match="Two segments are named 'edema'"):
        desk.export(case)
    inside.GetSegment(foreign).SetName("spare")
    inside.RemoveSegment(foreign)
    edit(scene, case, "tumour", everything)
    with pytest.raises(LabelMismatch, match="'edema' and 'tumour' share 315 voxels"):
        desk.export(case)


def test_masks_that_do_not_fit_change_nothing(desk: Desk) -> None:
    case = desk.open()
    labels = random_labels()
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    shifted = desk.affine.copy()
    shifted[:3, 3] += 1.0
    refused = [
        (mask_of(random_labels(3), shifted), GeometryMismatch),
        (mask_of(random_labels(3)[:-1], desk.affine), GeometryMismatch),
        (mask_of(random_labels(3), np.diag([-1, 1, 1, 1]) @ desk.affine), GeometryMismatch),
        (mask_of(random_labels(3), desk.affine, {"liver": 2}), LabelMismatch),
        (mask_of(random_labels(3), desk.affine, {"edema": 2}), LabelMismatch),
        (Mask(b"nonsense", ".nrrd", SCHEMA.values(), "unet", None, {}), ImageUnreadable),
    ]
    for mask, kind in refused:
        with pytest.raises(kind):
            desk.code.show_mask(case, mask, desk.folder)
        assert np.array_equal(desk.export(case)[0], labels)


@pytest.mark.parametrize(
    ("content", "suffix"), [(b"", ".nrrd"), (b"not an image", ".nii.gz"), (b"NRRD0004\n", ".nrrd")]
)
def test_an_unreadable_image_leaves_the_scene_as_it_was(desk: Desk, scene: Any, content: bytes, suffix: str) -> None:
    before = scene.GetNumberOfNodes()
    with pytest.raises(ImageUnreadable, match="case-01"):
        desk.open("RAS", content, suffix)
    assert scene.GetNumberOfNodes() == before


def painting_grid(scene: Any, node_id: str) -> np.ndarray[Any, Any]:
    """Voxel -> world of what Slicer's Segment Editor paints on: the segmentation's reference geometry."""
    import slicer
    import vtk

    node = scene.GetNodeByID(node_id)
    grid, matrix, to_world = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    parameter = node.GetSegmentation().GetConversionParameter(name)
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(parameter, grid, False)
    grid.GetImageToWorldMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, to_world)
    return np.asarray(slicer.util.arrayFromVTKMatrix(to_world) @ slicer.util.arrayFromVTKMatrix(matrix))


def test_masks_and_scribbles_follow_a_moved_image(desk: Desk, scene: Any) -> None:
    import slicer

    case = desk.open()
    volume, segmentation = scene.GetNodeByID(case.volume), segmentation_of(scene, case)
    labels = random_labels()
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    move = affine_of("oblique")
    transform = add_transform(scene, move)
    for moved, matrix in ((transform.GetID(), move), (None, np.eye(4))):
        volume.SetAndObserveTransformNodeID(moved)
        on_the_image = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "tumour", volume)
        assert np.array_equal(on_the_image.transpose(2, 1, 0), labels == 5)  # as it is seen
        for node_id in (case.segmentation, case.scribbles):
            assert np.allclose(painting_grid(scene, node_id), matrix @ desk.affine, atol=1e-6)
        voxels, affine = desk.export(case)
        assert np.array_equal(voxels, labels)
        assert np.allclose(affine, desk.affine, atol=1e-9)


def test_a_segmentation_that_was_moved_alone_is_refused_until_a_result_comes(desk: Desk, scene: Any) -> None:
    case = desk.open()
    segmentation_of(scene, case).SetAndObserveTransformNodeID(add_transform(scene, affine_of("oblique")).GetID())
    with pytest.raises(GeometryMismatch, match="different transforms"):
        desk.export(case, allow_empty=True)
    labels = random_labels()
    desk.code.show_mask(case, mask_of(labels, desk.affine), desk.folder)
    voxels, affine = desk.export(case)
    assert np.array_equal(voxels, labels)
    assert np.allclose(affine, desk.affine, atol=1e-9)


def test_a_case_that_was_left_does_not_follow_its_image(desk: Desk, scene: Any) -> None:
    case = desk.open()
    desk.code.put_away(case)
    scene.GetNodeByID(case.volume).SetAndObserveTransformNodeID(add_transform(scene, np.eye(4)).GetID())
    assert segmentation_of(scene, case).GetTransformNodeID() is None


def test_a_case_whose_nodes_are_gone_says_so(desk: Desk, scene: Any) -> None:
    case = desk.open()
    scene.RemoveNode(scene.GetNodeByID(case.volume))
    for call in (lambda: desk.export(case), lambda: desk.code.prompts(case), lambda: desk.code.has_marks(case)):
        with pytest.raises(CaseGone, match="case-01"):
            call()
    scene.Clear(0)
    desk.code.close_case(case)
    desk.code.clear_prompts(case)


def test_two_cases_of_one_name_do_not_mix(desk: Desk, scene: Any) -> None:
    first = desk.open()
    second = desk.open()
    labels = random_labels()
    desk.code.show_mask(second, mask_of(labels, desk.affine), desk.folder)
    assert not desk.code.has_marks(first)
    desk.code.close_case(second)
    assert scene.GetNodeByID(first.volume) is not None
    assert not desk.export(first, allow_empty=True)[0].any()


def test_a_large_result_is_shown_quickly(desk: Desk) -> None:
    import time

    shape = (256, 256, 120)
    image = np.zeros(shape, np.int16)
    case = desk.open("RAS", nrrd(image, affine_of("RAS")))
    labels = np.zeros(shape, np.uint8)
    labels[100:160, 90:170, 40:80] = 2
    mask = mask_of(labels, affine_of("RAS"))
    desk.code.show_mask(case, mask, desk.folder)
    started = time.perf_counter()
    desk.code.show_mask(case, mask, desk.folder)
    assert time.perf_counter() - started < 3.0


def test_the_canned_volumes_fit_each_other() -> None:
    assert set(np.unique(site_peer.mask())) == {0, *site_peer.LABELS.values()}
