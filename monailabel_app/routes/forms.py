"""JSON in form fields, and uploaded files under names of our own."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fastapi import UploadFile
from pydantic import BaseModel, ValidationError

from monailabel_app.errors import ImageError, SiteError
from monailabel_app.imaging.files import IMAGE_SUFFIXES, suffix_of

__all__ = ["json_object", "parse_model", "received", "upload_suffix"]

_Model = TypeVar("_Model", bound=BaseModel)


def json_object(text: str | None, field: str) -> dict[str, Any]:
    """Parse a form field that holds a JSON object; empty text is an empty object.

    Raises:
        SiteError: it is not JSON, or not an object.
    """
    if not text or not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise SiteError(
            f"form field {field!r} is not JSON: {reason}", 'send an object such as {"label": "tumour"}'
        ) from None
    if not isinstance(value, dict):
        raise SiteError(f"form field {field!r} is a JSON {type(value).__name__}, not an object", "send {...}")
    return value


def parse_model(kind: type[_Model], value: dict[str, Any], field: str) -> _Model:
    """Validate a parsed field.

    Raises:
        SiteError: naming the first wrong entries.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        parts = [
            f"{'.'.join(map(str, e['loc'])) or field}: {e['msg']}"
            for e in error.errors(include_url=False, include_context=False, include_input=False)[:4]
        ]
        raise SiteError(
            f"form field {field!r} is not valid: {'; '.join(parts)}", "see docs/reference/rest.md"
        ) from None


def upload_suffix(upload: UploadFile, default: str = ".nii.gz") -> str:
    """The supported suffix of an uploaded file's name.

    Raises:
        ImageError: a format that is not read here.
    """
    suffix = suffix_of(upload.filename) if upload.filename else default
    if not suffix:
        raise ImageError(
            f"{Path(upload.filename or '').name[-60:]!r} has no format that is read here",
            f"use one of {', '.join(IMAGE_SUFFIXES)}",
        )
    return suffix


@contextmanager
def received(upload: UploadFile, folder: Path, name: str) -> Iterator[Path]:
    """The upload as the file ``<name><suffix>`` in a folder of its own, gone afterwards.

    Nothing of the sender's file name but its known suffix is used.
    """
    suffix = upload_suffix(upload)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own) / f"{name}{suffix}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, 1 << 20)
        yield path
