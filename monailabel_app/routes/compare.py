"""``/versions/compare``: two versions on one case; ``/versions/{id}/export`` and ``/versions/import``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, UploadFile
from fastapi.responses import Response

from monailabel_app.app_context import Site
from monailabel_app.errors import SiteError
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.compare import compare, difference
from monailabel_app.middleware import check_id
from monailabel_app.models.base import Case, Labelmap
from monailabel_app.routes.access import Annotator, CurrentSite, Reviewer
from monailabel_app.routes.files import mask_bytes
from monailabel_app.state.version_files import export_version, import_version
from monailabel_app.state.versions import model_of

__all__ = ["router"]

router = APIRouter(prefix="/versions", tags=["Versions"])


@router.get("/compare")
def compare_versions(site: CurrentSite, user: Annotator, case: str, one: str, two: str) -> dict[str, Any]:
    """How two versions of a model differ on a case, and which is nearer to its correction.

    Raises:
        NotFound: no such case or version.
        SiteError: versions of two models.
    """
    volume, first, second = _masks(site, case, one, two)
    return {"case": case, "one": one, "two": two, **compare(first, second, _truth(site, case), volume, site.labels)}


@router.get("/compare/mask")
def compare_mask(
    site: CurrentSite, user: Annotator, case: str, one: str, two: str, what: Literal["one", "two", "difference"]
) -> Response:
    """A mask as ``.nii.gz``: of either version, or 1 where only the first has a label, 2 the second, 3 another one."""
    volume, first, second = _masks(site, case, one, two)
    if what == "difference":
        return mask_bytes(site, difference(first, second), volume, {"only one": 1, "only two": 2, "other label": 3})
    return mask_bytes(site, first if what == "one" else second, volume, site.labels)


@router.get("/{version}/export")
def export(site: CurrentSite, user: Reviewer, version: str) -> Response:
    """The version as one file."""
    data = export_version(site.context.state.store_of(version), version)
    headers = {"Content-Disposition": f'attachment; filename="{version}.safetensors"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.post("/import", status_code=201)
def import_file(
    site: CurrentSite, user: Reviewer, file: Annotated[UploadFile, File()], model: str | None = None
) -> dict[str, Any]:
    """Keep an exported version here; it serves once a reviewer promotes it."""
    store = site.context.state.versions(site.context.model(model))
    version = import_version(store, file.file.read(), user.name)
    return {"version": version.id, "model": version.model, "state": "candidate"}


def _masks(site: Site, case: str, one: str, two: str) -> tuple[Volume, Labelmap, Labelmap]:
    model = model_of(one)
    if model != model_of(two):
        raise SiteError(f"{one} and {two} are versions of different models", "compare two versions of one model")
    path = site.datastore.path_of(check_id(case, "case"))
    first = site.inference.infer(model, path, version=one)
    second = site.inference.infer(model, path, version=two)
    return first.volume, first.labelmap, second.labelmap


def _truth(site: Site, case: str) -> Case | None:
    corrections = site.context.state.corrections
    usable = corrections.usable([c for c in corrections.list() if c.case == case][-1:])
    return corrections.load(usable[0]) if usable else None
