"""``/datastore/``: which images there are, and fetching, adding and removing them."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse, Response

from monailabel_app.errors import NotFound, SiteError
from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.thumbnail import thumbnail_of
from monailabel_app.middleware import check_id
from monailabel_app.routes.access import Admin, Annotator, CurrentSite, Viewer
from monailabel_app.routes.forms import json_object, received, upload_suffix

__all__ = ["router"]

router = APIRouter(prefix="/datastore", tags=["Datastore"])


class ResultType(StrEnum):
    train = "train"
    stats = "stats"
    all = "all"


@router.get("/", summary="Get All Images/Labels from datastore", response_model=None)
def datastore(site: CurrentSite, user: Viewer, output: ResultType | None = None) -> dict[str, Any] | list[Any]:
    """Counts, or the whole index, or the labelled pairs; file names only, never folders."""
    site.datastore.rescan()
    if output is ResultType.all:
        return site.datastore.json()
    if output is ResultType.train:
        return site.datastore.datalist()
    return site.datastore.status()


@router.put("/", summary="Upload new Image", include_in_schema=False, deprecated=True)
@router.put("/image", summary="Upload new Image")
def add_image(
    site: CurrentSite,
    user: Annotator,
    file: Annotated[UploadFile, File()],
    image: str | None = None,
    params: Annotated[str, Form()] = "{}",
) -> dict[str, Any]:
    """Add an image to the studies.

    Raises:
        ImageError: it cannot be read.
        Conflict: the id is taken.
    """
    suffix = upload_suffix(file)
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    identifier = check_id(image or name[: len(name) - len(suffix)], "image")
    if not identifier or identifier.startswith("."):
        raise SiteError(f"{identifier!r} cannot be an image id", "add ?image=ID")
    info = json_object(params, "params")
    with received(file, site.incoming, "image") as path:
        read_volume(path)
        added = site.datastore.add_image(identifier, str(path), {**info, "user": user.name})
    return {"image": added}


@router.delete("/", summary="Remove Image and corresponding labels", include_in_schema=False, deprecated=True)
@router.delete("/image", summary="Remove Image and corresponding labels")
def remove_image(id: str, site: CurrentSite, user: Admin) -> dict[str, Any]:
    """Delete an image from the studies, and what was shown, prompted and computed on it; its corrections stay, but
    train no longer."""
    site.datastore.path_of(check_id(id, "image"))
    site.interactive.forget(id)
    site.datastore.remove_image(id)
    site.context.state.prompts.forget(id)
    return {}


@router.head("/image", summary="Check If Image Exists")
def check_image(image: str, site: CurrentSite, user: Viewer, check_sum: str | None = None) -> dict[str, Any]:
    """200 if the image is there (and has the digest ``ALGORITHM:HEX`` or a SHA-256)."""
    path = site.datastore.path_of(check_id(image, "image"))
    if check_sum:
        algorithm, _, digest = check_sum.rpartition(":")
        algorithm = (algorithm or "sha256").lower().replace("-", "")
        if algorithm not in {"sha256", "sha512", "md5"}:
            raise SiteError(f"check_sum names the algorithm {algorithm[:20]!r}", "use SHA256, SHA512 or MD5")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
        if found != digest.lower():
            raise NotFound(f"image {image!r} has another check sum", "download it again")
    return {}


@router.get("/image", summary="Download Image")
def download_image(image: str, site: CurrentSite, user: Viewer) -> FileResponse:
    """The image file as it is stored."""
    path = site.datastore.path_of(check_id(image, "image"))
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/image/thumbnail", summary="A small picture of an image", response_class=Response)
def thumbnail(image: str, site: CurrentSite, user: Viewer, size: Annotated[int, Query(ge=16, le=256)] = 64) -> Response:
    """The middle slice as PNG, ``size`` pixels at its longer side.

    Raises:
        ImageError: the image cannot be read.
    """
    path = site.datastore.path_of(check_id(image, "image"))
    return Response(thumbnail_of(path, size), media_type="image/png")


@router.get("/image/info", summary="Get Image Info")
def get_image_info(image: str, site: CurrentSite, user: Viewer) -> dict[str, Any]:
    """What is noted about an image."""
    site.datastore.path_of(check_id(image, "image"))
    return {key: value for key, value in site.datastore.get_image_info(image).items() if key != "path"}


@router.put("/image/info", summary="Update Image Info")
def update_image_info(
    image: str, site: CurrentSite, user: Annotator, info: Annotated[str, Form()] = "{}"
) -> dict[str, Any]:
    """Note more about an image."""
    site.datastore.path_of(check_id(image, "image"))
    noted = {key: value for key, value in json_object(info, "info").items() if key not in {"path", "name", "ts"}}
    site.datastore.update_image_info(image, {**noted, "user": user.name})
    return {}
