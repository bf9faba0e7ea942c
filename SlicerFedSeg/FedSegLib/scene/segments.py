"""The case's segments as masks by structure name, read and written voxel for voxel.

Masks live in one labelmap that all of the case's segments share and that covers the image exactly; a result is written
into it in place, in the box where it differs. If somebody edited the segmentation into another layout (several layers,
a cropped extent), it is read through Slicer's export onto the image's grid and laid out anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..errors import LabelMismatch
from ..grid import Array, changed_box, merge_labels
from ..language import tr as _
from ..protocol import Label, LabelSchema
from .volumes import as_array, ijk_to_ras, shape_kji

_BINARY = "Binary labelmap"


def follow(segmentation: Any, volume: Any) -> None:
    """Put the segmentation under the volume's transform, so that voxels stay on voxels."""
    if segmentation.GetTransformNodeID() != volume.GetTransformNodeID():
        segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())


def add_segment(segmentation: Any, label: Label, key: str = "") -> str:
    """An empty segment for a structure, with its colour and, if told, its codes; returns its id."""
    inside = segmentation.GetSegmentation()
    key = inside.AddEmptySegment(key, label.name, [channel / 255.0 for channel in label.color])
    if label.codes is not None:
        segment = inside.GetSegment(key)
        segment.SetTag(segment.GetTerminologyEntryTagName(), label.codes.terminology_entry())
    return str(key)


def named_segments(segmentation: Any, schema: LabelSchema, *, add_missing: bool = False) -> list[tuple[str, str]]:
    """(structure name, segment id) of the schema's structures that the segmentation has.

    Raises:
        LabelMismatch: two segments of one name.
    """
    inside = segmentation.GetSegmentation()
    found: dict[str, str] = {}
    for position in range(inside.GetNumberOfSegments()):
        key = inside.GetNthSegmentID(position)
        name = inside.GetSegment(key).GetName()
        if name in found and schema.find(name) is not None:
            raise LabelMismatch(
                _("Two segments are named '{name}'.").format(name=name), _("Merge them, or rename or delete one.")
            )
        found[name] = key
    for label in schema.labels:
        if add_missing and label.name not in found:
            found[label.name] = add_segment(segmentation, label)
    return [(name, found[name]) for name in schema.names if name in found]


def refuse_foreign(segmentation: Any, volume: Any, schema: LabelSchema) -> None:
    """Raise LabelMismatch when a segment outside the schema holds voxels."""
    inside = segmentation.GetSegmentation()
    for position in range(inside.GetNumberOfSegments()):
        key = inside.GetNthSegmentID(position)
        name = inside.GetSegment(key).GetName()
        if schema.find(name) is None and segment_mask(segmentation, key, volume).any():
            raise LabelMismatch(
                _("The segment '{name}' is not a structure of this site ({names}).").format(
                    name=name, names=", ".join(schema.names)
                ),
                _("Rename it to one of these, or delete it."),
            )


def segment_mask(segmentation: Any, key: str, volume: Any) -> Array:
    """Boolean voxels [k, j, i] of one segment on the volume's grid."""
    mask = np.zeros(shape_kji(volume), bool)
    labelmap = segmentation.GetBinaryLabelmapInternalRepresentation(key)
    if labelmap is None or labelmap.IsEmpty() or labelmap.GetPointData().GetScalars() is None:
        return mask
    if not _aligned(labelmap, volume):
        exported = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, key, volume)
        return np.asarray(exported, dtype=bool)
    i0, i1, j0, j1, k0, k1 = labelmap.GetExtent()
    source = _voxels(labelmap) == segmentation.GetSegmentation().GetSegment(key).GetLabelValue()
    spans = [(k0, k1), (j0, j1), (i0, i1)]
    inside = [(max(low, 0), min(high + 1, size)) for (low, high), size in zip(spans, mask.shape, strict=True)]
    if all(low < high for low, high in inside):
        target = tuple(slice(low, high) for low, high in inside)
        origin = tuple(slice(low - span[0], high - span[0]) for (low, high), span in zip(inside, spans, strict=True))
        mask[target] = source[origin]
    return mask


def _aligned(labelmap: Any, volume: Any) -> bool:
    """True when a labelmap's voxel (i, j, k) is the volume's voxel (i, j, k)."""
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return bool(np.allclose(as_array(matrix), as_array(ijk_to_ras(volume)), rtol=0, atol=1e-6))


def _voxels(labelmap: Any) -> Array:
    """The labelmap's own memory as [k, j, i]; writing to it writes to the segmentation."""
    from vtk.util import numpy_support  # a plain import of vtk does not bring it

    i, j, k = labelmap.GetDimensions()
    return np.asarray(numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars())).reshape(k, j, i)


def write_masks(
    segmentation: Any, volume: Any, schema: LabelSchema, present: list[tuple[str, str]], labels: Array
) -> None:
    """Make the schema's segments equal to ``labels`` (schema values), in place where the layout allows it."""
    shared = _shared_labelmap(segmentation, volume, schema, present)
    if shared is None:
        lay_out(segmentation, volume, schema, labels)
        return
    now = _voxels(shared)
    box = changed_box(now, labels)
    if box is None:
        return
    old, new = now[box], labels[box]
    foreign = (_known_values(schema)[old] != old) if old.any() else np.zeros((), bool)
    if foreign.any():  # a person's own segments give way to structures only
        write = (old != new) & ~(foreign & (new == 0))
        old[write] = new[write]
        changed = bool(write.any())
    else:
        old[...] = new
        changed = True
    if changed:
        shared.GetPointData().GetScalars().Modified()
        shared.Modified()


def case_labels(segmentation: Any, volume: Any, schema: LabelSchema) -> Array:
    """A copy of the structures as label values; where they overlap, the later one of the schema.

    It may also hold values of segments outside the schema.
    """
    present = named_segments(segmentation, schema)
    shared = _shared_labelmap(segmentation, volume, schema, present)
    if shared is not None:
        return np.array(_voxels(shared), dtype=np.uint8)  # values of other segments are nobody's label
    labels = np.zeros(shape_kji(volume), np.uint8)
    for name, key in present:
        labels[segment_mask(segmentation, key, volume)] = schema.values()[name]
    return labels


def checked_labels(segmentation: Any, volume: Any, schema: LabelSchema, *, allow_empty: bool) -> Array:
    """A copy of the structures as label values, if it can be submitted.

    Raises:
        LabelMismatch: a segment outside the schema holds voxels, a name occurs twice, or structures overlap.
        EmptyMask: nothing is marked and ``allow_empty`` is False.
    """
    refuse_foreign(segmentation, volume, schema)
    present = named_segments(segmentation, schema)
    shared = _shared_labelmap(segmentation, volume, schema, present)
    if shared is not None:  # one value per voxel: nothing overlaps
        labels = _known_values(schema)[_voxels(shared)]
        if allow_empty or labels.any():
            return labels
    masks = {name: segment_mask(segmentation, key, volume) for name, key in present}
    if not masks:
        masks = {name: np.zeros(shape_kji(volume), bool) for name in schema.names[:1]}
    return merge_labels(masks, schema, allow_empty=allow_empty)


def _known_values(schema: LabelSchema) -> Array:
    """Table from a voxel value to itself, or to 0 where the schema does not know it."""
    table = np.zeros(1 << 16, _kind(schema))
    for value in schema.values().values():
        table[value] = value
    return table


def _kind(schema: LabelSchema) -> Any:
    """Smallest kind of number that holds the schema's values."""
    return np.uint8 if max(schema.values().values(), default=1) < 256 else np.uint16


def layout_stamp(segmentation: Any, schema: LabelSchema) -> tuple[int, ...]:
    """Modification times of what holds the schema's voxels; VTK never gives the same time twice."""
    times = []
    for _name, key in named_segments(segmentation, schema):
        labelmap = segmentation.GetBinaryLabelmapInternalRepresentation(key)
        times.append(0 if labelmap is None else int(labelmap.GetMTime()))
    return tuple(times)


def write_box(
    segmentation: Any, volume: Any, schema: LabelSchema, box: tuple[slice, slice, slice], voxels: Array, changed: Array
) -> None:
    """Write label values into a box where ``changed`` is true; a person's own segments give way to structures only."""
    present = named_segments(segmentation, schema, add_missing=True)
    shared = _shared_labelmap(segmentation, volume, schema, present)
    if shared is None:
        labels = case_labels(segmentation, volume, schema)  # laid out anew: other segments keep their own labelmap
        labels[box] = np.where(changed, voxels, labels[box])
        lay_out(segmentation, volume, schema, labels)
        return
    now = _voxels(shared)[box]
    others = (now != 0) & ~np.isin(now, list(schema.values().values()))
    write = changed & (now != voxels) & ~(others & (voxels == 0))
    if write.any():
        now[write] = voxels[write]
        shared.GetPointData().GetScalars().Modified()
        shared.Modified()


def _shared_labelmap(segmentation: Any, volume: Any, schema: LabelSchema, present: list[tuple[str, str]]) -> Any:
    """The labelmap that all segments share and that covers the image exactly, or None."""
    inside = segmentation.GetSegmentation()
    maps = [segmentation.GetBinaryLabelmapInternalRepresentation(key) for _, key in present]
    values = [inside.GetSegment(key).GetLabelValue() for _, key in present]
    if len(present) != len(schema.labels) or maps[0] is None or any(item is not maps[0] for item in maps):
        return None
    i, j, k = volume.GetImageData().GetDimensions()
    covers = maps[0].GetExtent() == (0, i - 1, 0, j - 1, 0, k - 1)
    own_values = values == [label.value for label in schema.labels]
    return maps[0] if covers and own_values and _aligned(maps[0], volume) else None


def lay_out(segmentation: Any, volume: Any, schema: LabelSchema, labels: Array) -> None:
    """Give the schema's segments one shared labelmap that covers the image."""
    from vtk.util import numpy_support

    labelmap = slicer.vtkOrientedImageData()
    labelmap.SetDimensions(*volume.GetImageData().GetDimensions())
    flat = np.ascontiguousarray(labels, dtype=_kind(schema)).ravel()
    labelmap.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    labelmap.SetImageToWorldMatrix(ijk_to_ras(volume))
    inside = segmentation.GetSegmentation()
    for name, key in named_segments(segmentation, schema):
        segment = inside.GetSegment(key)
        segment.SetLabelValue(schema.values()[name])
        segment.AddRepresentation(_BINARY, labelmap)
    segmentation.Modified()
