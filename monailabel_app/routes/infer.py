"""``POST /infer/{model}``: a mask of a known case, of a session's image, or of an image sent along."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from requests_toolbelt import MultipartEncoder  # type: ignore[import-untyped]

from fed_backend.methods.fedsm import sites_of
from monailabel_app.app_context import Site
from monailabel_app.auth import User
from monailabel_app.errors import LabelError, SiteError
from monailabel_app.imaging.files import write_mask
from monailabel_app.imaging.orient import stack_of
from monailabel_app.inference.service import Inferred
from monailabel_app.inference.shown import merge_prompted
from monailabel_app.middleware import check_id
from monailabel_app.models.base import Answer, Prompts
from monailabel_app.routes.access import Annotator, CurrentSite
from monailabel_app.routes.forms import json_object, parse_model, received

__all__ = ["InferParams", "router"]

router = APIRouter(prefix="/infer", tags=["Infer"])

Voxel = tuple[int, int, int]
_MOST_POINTS = 1000
_TYPES = {".nii.gz": "application/gzip", ".nii": "application/octet-stream", ".png": "image/png"}


class ResultType(StrEnum):
    image = "image"
    json = "json"
    all = "all"
    dicom_seg = "dicom_seg"


class InferParams(BaseModel):
    """The form field ``params``; what stock clients add beside it is ignored.

    Attributes:
        label: label that the prompts are for; may be left out where the schema has one.
        foreground: voxels (i, j, k) of the original image inside the structure.
        background: voxels outside it.
        box: (i0, j0, k0, i1, j1, k1), inclusive.
        version: a stored version; the champion when left out.
        result_extension: format of the mask.
    """

    model_config = ConfigDict(extra="ignore")

    label: str | None = None
    foreground: list[Voxel] = Field(default=[], max_length=_MOST_POINTS)
    background: list[Voxel] = Field(default=[], max_length=_MOST_POINTS)
    box: tuple[int, int, int, int, int, int] | None = None
    version: str | None = Field(default=None, max_length=80)
    result_extension: Literal[".nii.gz", ".nii", ".nrrd", ".mha", ".png"] = ".nii.gz"

    def prompts(self, labels: dict[str, int]) -> list[Prompts]:
        """The prompts, or an empty list for automatic segmentation.

        Raises:
            LabelError: no label given where there are several, or one that the schema lacks.
        """
        if not self.foreground and not self.background and self.box is None:
            return []
        label = self.label or (next(iter(labels)) if len(labels) == 1 else "")
        if label not in labels:
            raise LabelError(
                f"prompts are for label {label!r}, which this site does not have" if label else "prompts name no label",
                f"set label to one of: {', '.join(labels)}",
            )
        return [Prompts(label, tuple(self.foreground), tuple(self.background), self.box)]


@router.post("/{model}", summary="Run Inference for supported model", response_model=None)
def infer(
    model: str,
    site: CurrentSite,
    user: Annotator,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: ResultType | None = None,
) -> Response:
    """Segment, and answer in MONAI Label's form: multipart of ``params`` and the mask.

    Raises:
        NotFound: no such image, session, model or version.
        SiteError: the request contradicts itself or asks for what this site does not do.
    """
    if label is not None or output is ResultType.dicom_seg:
        what = "a label file (scribbles)" if label is not None else "DICOM SEG output"
        raise SiteError(f"no model here takes {what}", "send points or a box in params, and output=image, json or all")
    wanted = parse_model(InferParams, json_object(params, "params"), "params")
    prompts = wanted.prompts(site.labels)
    with _image_file(site, image, session_id, file) as path:
        done = site.inference.infer(model, path, prompts, version=wanted.version)
    known_case = bool(image) and not session_id and file is None
    if known_case:
        _remember(site, image, model, done, prompts, user)
    reply = {
        "label_names": dict(sorted(site.labels.items(), key=lambda item: item[1])),
        "model": model,
        "version": done.version,
        "image": image,
        "seconds": done.seconds,
        **({"routing": _routing(site, done.answer)} if done.answer else {}),
    }
    if output is ResultType.json:
        return JSONResponse(reply)
    return _answer(reply, *_mask_file(site, done, wanted.result_extension), output)


def _routing(site: Site, answer: Answer) -> dict[str, Any]:
    """Which model answered, in the words of the plan."""
    plan = site.context.plan
    sites = sites_of(plan) if plan else ()
    likeliest = sites[answer.likeliest] if answer.likeliest < len(sites) else None
    return {"model": answer.model, "confidence": round(answer.confidence, 4), "likeliest": likeliest}


@contextmanager
def _image_file(site: Site, image: str, session_id: str, file: UploadFile | None) -> Iterator[Path]:
    """The image that a request means: a session's, one sent along, or a known case (never a path)."""
    if session_id:
        yield Path(site.sessions.find(session_id).image)
    elif file is not None:
        with received(file, site.incoming, "image") as path:
            yield path
    elif image:
        yield site.datastore.path_of(check_id(image, "image"))
    else:
        raise SiteError("the request names no image", "add ?image=ID, ?session_id=ID, or send a file")


def _remember(site: Site, case: str, model: str, done: Inferred, prompts: list[Prompts], user: User) -> None:
    """Keep what the annotator sees now, for the correction that may follow."""
    store, image = site.context.state.prompts, done.volume.identity
    shown = done.labelmap
    if prompts:
        before = store.shown(case, image)
        axis = stack_of(done.volume).axes[0]
        shown = merge_prompted(before.labelmap if before else None, shown, prompts, site.labels, axis)
        store.record_prompts(case, model, done.version, prompts, author=user.name, image=image)
    store.record_shown(case, model, done.version, shown, image)


def _mask_file(site: Site, done: Inferred, suffix: str) -> tuple[str, bytes]:
    site.incoming.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.incoming, prefix="mask-") as folder:
        path = Path(folder) / f"mask{suffix}"
        write_mask(done.labelmap, done.volume, path, site.labels)
        return f"{Path(folder).name}{suffix}", path.read_bytes()


def _answer(reply: dict[str, Any], name: str, mask: bytes, output: ResultType | None) -> Response:
    kind = next((_TYPES[suffix] for suffix in _TYPES if name.endswith(suffix)), "application/octet-stream")
    if output is ResultType.image:
        return Response(mask, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
    parts = MultipartEncoder(
        fields={"params": (None, json.dumps(reply), "application/json"), "image": (name, mask, kind)}
    )
    return Response(parts.to_string(), media_type=parts.content_type)
