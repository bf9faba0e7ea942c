"""What an annotator sees after prompts: the mask before, with the prompted slices replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monailabel_app.models.base import Labelmap, Prompts

__all__ = ["merge_prompted"]


def merge_prompted(
    before: Labelmap | None, answer: Labelmap, prompts: Sequence[Prompts], labels: Mapping[str, int], axis: int
) -> Labelmap:
    """The mask on screen once ``answer`` has come in.

    Args:
        before: [i, j, k] the mask shown before; ``None`` or of another shape counts as empty.
        answer: [i, j, k] what the prompts gave: zero but on the prompted slices.
        prompts: what was asked; their voxels say which slices were prompted.
        labels: label name -> voxel value.
        axis: the volume axis across which slices are taken.

    Returns:
        A new mask: on the prompted slices the prompted label is the answer's, all else as before.
    """
    merged = np.zeros_like(answer) if before is None or before.shape != answer.shape else before.copy()
    for prompt in prompts:
        corners = [] if prompt.box is None else [prompt.box[:3], prompt.box[3:]]
        touched = {voxel[axis] for voxel in [*prompt.foreground, *prompt.background, *corners]}
        for index in touched:
            plane = tuple(index if a == axis else slice(None) for a in range(3))
            old = merged[plane]
            old[old == labels[prompt.label]] = 0
    merged[answer > 0] = answer[answer > 0]
    return merged
