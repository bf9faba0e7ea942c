"""A scripted annotator: does over HTTP what a person does in 3D Slicer, and knows the true labels.

It asks for the next case, looks at the automatic mask, prompts the SAM model on the worst slice,
keeps the answer if it is better there, and submits the true label as the correction. The images of
test cases reach the site only later, and their labels never leave the annotator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from fed_backend.demo.baseline import dice
from fed_backend.demo.client import SiteClient
from fed_backend.demo.dataset import LABELS, Case, SiteData, read_pair
from fed_backend.demo.errors import SiteError
from fed_backend.demo.results import Annotation
from fed_backend.demo.slices import make_overlay, prompts_for, slice_axis, take, worst_slice

__all__ = ["annotate_case", "annotate_site"]

STRATEGY = "first"
"""Cases come in a fixed order, so that equal seeds give equal runs."""


def annotate_case(client: SiteClient, case: Case, model: str, prompted_by: str = "sam") -> Annotation:
    """Look at the automatic mask of one case, prompt on its worst slice, submit the true label.

    Args:
        client: the site.
        case: the case and its true label.
        model: model of the automatic mask.
        prompted_by: model that takes prompts.

    Raises:
        SiteError: the site refused a request.
    """
    image, truth = read_pair(case)
    affine = np.asarray(nib.load(case.image).affine)
    automatic = client.segment(model, case.name)
    axis = slice_axis(image.shape, affine)
    index, wrong = worst_slice(automatic, truth, axis)
    prompted = _prompt(client, case, prompted_by, automatic, truth, axis, index) if truth.any() else automatic

    shown_there, prompted_there = (dice(take(m, axis, index), take(truth, axis, index)) for m in (automatic, prompted))
    corrected = prompted if prompted_there > shown_there else automatic
    answer = client.submit(case.name, case.label, {"author": "scripted annotator", "label_info": _label_info()})
    masks = [("automatic", automatic), ("prompted" if corrected is prompted else "prompts did not help", corrected)]
    overlay = make_overlay(case.site, case.name, "annotation", image, truth, [*masks, ("final", truth)], affine, index)
    return Annotation(
        case=case.name,
        part=str(answer.get("part", case.part)),
        dice_shown=dice(automatic, truth),
        slice_shown=shown_there,
        slice_prompted=prompted_there,
        wrong=wrong,
        overlay=overlay,
    )


def _prompt(
    client: SiteClient,
    case: Case,
    model: str,
    automatic: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.uint8],
    axis: int,
    index: int,
) -> npt.NDArray[np.uint8]:
    """The automatic mask with the worst slice replaced by the prompted one."""
    prompts = prompts_for(automatic, truth, axis, index)
    answer = client.segment(model, case.name, label=next(iter(LABELS)), **prompts)
    merged = automatic.copy()
    place: list[Any] = [slice(None)] * 3
    place[axis] = index
    merged[tuple(place)] = answer[tuple(place)]
    return merged


def _label_info() -> list[dict[str, Any]]:
    return [{"name": name, "idx": value} for name, value in LABELS.items()]


def annotate_site(
    client: SiteClient,
    data: SiteData,
    model: str,
    *,
    progress: Callable[[str, int, int], None] = lambda case, done, total: None,
) -> list[Annotation]:
    """Annotate every training and validation case of a site, in the order in which the site asks for them.

    Args:
        client: the site.
        data: its cases with their true labels.
        model: model of the automatic masks.
        progress: called with (case, cases done, cases in all).

    Raises:
        SiteError: the site refused a request, or proposes an image that does not exist.
    """
    wanted = {case.name: case for case in data.part("train", "val")}
    total = len(wanted)
    done: list[Annotation] = []
    while (name := client.next_case(STRATEGY)) is not None:
        if name not in wanted:
            raise SiteError(
                f"site {client.name} proposes {name!r}, which is no case that is left to annotate",
                "its studies folder should hold the training and validation images only",
            )
        progress(name, len(done), total)
        done.append(annotate_case(client, wanted.pop(name), model))
        progress(name, len(done), total)
    if wanted:
        raise SiteError(f"site {client.name} proposes no more cases, but {min(wanted)} is not annotated")
    return done
