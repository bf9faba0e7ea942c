"""``/session/``: an image sent for inference only, without joining the site's studies."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import FileResponse, Response

from monailabel_app.errors import SiteError
from monailabel_app.imaging.files import read_volume
from monailabel_app.routes.access import Annotator, CurrentSite, Viewer
from monailabel_app.routes.forms import received, upload_suffix
from monailabel_app.sessions import public_info

__all__ = ["router"]

router = APIRouter(prefix="/session", tags=["Session"])


@router.get("/{session_id}", summary="Get Session ID", response_model=None)
def get_session(
    session_id: str, site: CurrentSite, user: Viewer, update_ts: bool = False, image: bool = False
) -> Response | dict[str, Any]:
    """The session, or its image."""
    found = site.sessions.find(session_id, update_ts)
    if image:
        return FileResponse(found.image, media_type="application/octet-stream", filename=public_info(found)["image"])
    return public_info(found)


@router.put("/", summary="Create new session with Image")
def create_session(
    site: CurrentSite,
    user: Annotator,
    files: Annotated[list[UploadFile], File()],
    uncompress: bool = False,
    expiry: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Keep one image until the session expires.

    Raises:
        SiteError: more than one file, or an archive to unpack.
        ImageError: the image cannot be read.
    """
    if len(files) != 1 or uncompress:
        raise SiteError(
            f"a session takes one image file, not {'an archive' if uncompress else f'{len(files)} files'}",
            "send one volume (.nii.gz, .nrrd, ...); convert a DICOM series first",
        )
    with received(files[0], site.incoming, "image") as path:
        read_volume(path)
        identifier, info = site.sessions.add(path, upload_suffix(files[0]), expiry)
    return {"session_id": identifier, "session_info": public_info(info)}


@router.delete("/{session_id}", summary="Delete Session")
def remove_session(session_id: str, site: CurrentSite, user: Annotator) -> dict[str, Any]:
    """Delete a session and its image."""
    found = site.sessions.find(session_id)
    site.sessions.remove_session(session_id)
    return public_info(found)
