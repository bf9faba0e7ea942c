"""``/datastore/label``: saving a mask (``final`` ones become corrections) and fetching saved ones."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from monailabel_app.app_context import Site
from monailabel_app.errors import NotFound, SiteError
from monailabel_app.imaging.files import check_labels, conform_mask, read_mask, read_volume, write_mask
from monailabel_app.middleware import check_id
from monailabel_app.routes.access import Admin, Annotator, CurrentSite, Viewer
from monailabel_app.routes.forms import json_object, parse_model, received
from monailabel_app.state.corrections import Submission

__all__ = ["router"]

router = APIRouter(prefix="/datastore", tags=["Datastore"])

FINAL = "final"


class SaveParams(BaseModel):
    """The form field ``params`` of a saved label; the rest is kept with the label.

    Attributes:
        author: who drew it; a site with users takes the caller instead.
        seconds: time spent on it.
        annotated: names of the labels that it annotates; what the site annotates where left out.
    """

    model_config = ConfigDict(extra="allow")

    author: str | None = Field(default=None, max_length=200)
    seconds: float | None = Field(default=None, ge=0, le=1e7, allow_inf_nan=False)
    annotated: list[str] | None = Field(default=None, max_length=255)


@router.put("/label", summary="Save Finished Label")
def save_label(
    image: str,
    site: CurrentSite,
    user: Annotator,
    label: Annotated[UploadFile, File()],
    params: Annotated[str, Form()] = "{}",
    tag: str = FINAL,
) -> dict[str, Any]:
    """Check a mask against its image and the label schema, and keep it on the image's own grid.

    Raises:
        NotFound: no such image.
        ImageError: the mask cannot be read.
        GeometryError: its grid is not the image's.
        LabelError: values or annotated labels outside the schema.
    """
    path = site.datastore.path_of(check_id(image, "image"))
    tag = check_id(tag or FINAL, "tag")
    if tag.startswith("."):
        raise SiteError(f"{tag[:40]!r} cannot be a tag", "use final, original, or a word of your own")
    values = json_object(params, "params")
    saved = parse_model(SaveParams, values, "params")
    author = user.name if site.authenticator.enabled or not saved.author else saved.author
    info = {**values, "author": author, "user": user.name}
    with received(label, site.incoming, "label") as mask:
        if tag == FINAL:
            annotated = site.settings.annotates if saved.annotated is None else saved.annotated
            submission = Submission(image, path, mask, author, seconds=saved.seconds, annotated=annotated)
            extra = _correct(site, submission, info)
        else:
            kept = mask.with_name("kept.nii.gz")
            _conform(site, path, mask, kept)
            site.datastore.save_label(image, str(kept), tag, info)
            extra = {}
    return {**extra, "image": image, "label": image}


def _correct(site: Site, submission: Submission, info: dict[str, Any]) -> dict[str, Any]:
    """Store a correction; the label that stock clients fetch is a copy of its mask."""
    site.interactive.flush(submission.case, info["user"])  # the mask shown may be seconds old
    corrections = site.context.state.corrections
    correction = corrections.submit(submission, site.labels)
    site.datastore.save_label(submission.case, str(corrections.mask(correction)), FINAL, info)
    site.context.learner.warm()  # it will be wanted soon, and imports for seconds
    return {"correction": correction.id, "part": correction.part, "dice_shown": correction.dice_shown}


def _conform(site: Site, image: Path, mask: Path, kept: Path) -> None:
    volume = read_volume(image)
    labelmap = conform_mask(read_mask(mask), volume)
    check_labels(labelmap, site.labels)
    write_mask(labelmap, volume, kept, site.labels)


@router.delete("/label", summary="Remove Label")
def remove_label(id: str, tag: str, site: CurrentSite, user: Admin) -> dict[str, Any]:
    """Delete a saved label; a correction made from it stays."""
    site.datastore.label_path_of(check_id(id, "id"), check_id(tag, "tag"))
    site.datastore.remove_label(id, tag)
    return {}


@router.head("/label", summary="Check If Label Exists")
def check_label(image: str, tag: str, site: CurrentSite, user: Viewer) -> dict[str, Any]:
    """200 if the image has a label under the tag."""
    site.datastore.label_path_of(check_id(image, "image"), check_id(tag, "tag"))
    return {}


@router.get("/label", summary="Download Label")
def download_label(label: str, tag: str, site: CurrentSite, user: Viewer) -> FileResponse:
    """A saved label, on its image's own grid."""
    path = site.datastore.label_path_of(check_id(label, "label"), check_id(tag, "tag"))
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/label/info", summary="Get Label Info")
def get_label_info(label: str, tag: str, site: CurrentSite, user: Viewer) -> dict[str, Any]:
    """What is noted about a label."""
    site.datastore.label_path_of(check_id(label, "label"), check_id(tag, "tag"))
    info: dict[str, Any] = site.datastore.get_label_info(label, tag)
    return info


@router.put("/label/info", summary="Update Label Info")
def update_label_info(
    label: str, tag: str, site: CurrentSite, user: Annotator, info: Annotated[str, Form()] = "{}"
) -> dict[str, Any]:
    """Note more about a label."""
    site.datastore.label_path_of(check_id(label, "label"), check_id(tag, "tag"))
    site.datastore.update_label_info(label, tag, {**json_object(info, "info"), "user": user.name})
    return {}


@router.put("/updatelabelinfo", summary="Update label info", include_in_schema=False, deprecated=True)
def update_label_info_old(
    label: str, tag: str, site: CurrentSite, user: Annotator, params: Annotated[str, Form()] = "{}"
) -> dict[str, Any]:
    """The address that older clients use."""
    return update_label_info(label, tag, site, user, params)


@router.get("/dataset", summary="Download full dataset as ZIP archive")
def download_dataset(
    site: CurrentSite, user: Admin, limit_cases: Annotated[int | None, Query(ge=1)] = None
) -> FileResponse:
    """All images with a final label, and those labels, as ``image/`` and ``label/`` in a ZIP file.

    Labels whose image is gone from the studies are left out; ``left-out.txt`` in the file names their cases.

    Raises:
        NotFound: no image has a final label.
    """
    found, gone = [], []
    for case in site.datastore.labelled(FINAL):
        try:
            found.append((site.datastore.path_of(case), site.datastore.label_path_of(case, FINAL)))
        except NotFound:
            gone.append(case)
    if not found:
        raise NotFound("no image has a final label yet", "save labels first")
    site.incoming.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=site.incoming, suffix=".zip", delete=False) as file:
        archive = Path(file.name)
    try:
        with zipfile.ZipFile(archive, "w", strict_timestamps=False) as pack:
            for image, label in found[:limit_cases]:
                pack.write(image, f"image/{image.name}")
                pack.write(label, f"label/{label.name}")
            if gone:
                pack.writestr("left-out.txt", "".join(f"{case}: its image is gone\n" for case in gone))
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    return FileResponse(
        archive, media_type="application/zip", filename="dataset.zip", background=BackgroundTask(archive.unlink, True)
    )
