"""A version as one file, to be carried to another site or kept elsewhere, and back.

The file is a safetensors file (nothing is ever unpickled) whose metadata hold ``format``
(``fedseg-version/1``) and ``record``, the version's record as JSON. It holds no image, no mask and no
name of a case; the record names corrections by their identifiers and digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from monailabel_app import __version__
from monailabel_app.errors import AdapterError, Conflict
from monailabel_app.state.versions import NewVersion, Version, VersionStore, adapter_sha256

__all__ = ["export_version", "import_version"]

_FORMAT = "fedseg-version/1"
_HEADER_MAX = 2**22


def export_version(store: VersionStore, identifier: str) -> bytes:
    """A version as a file.

    Raises:
        NotFound: no such version.
        StateError: it is damaged.
    """
    record = store.get(identifier)
    return save(store.load(identifier), {"format": _FORMAT, "record": record.model_dump_json()})


def import_version(store: VersionStore, data: bytes, author: str) -> Version:
    """Store what :func:`export_version` wrote as a new version that does not serve yet.

    Args:
        store: versions of the model that the file must be for.
        data: the file.
        author: who brings it.

    Raises:
        AdapterError: no such file, damaged, or its tensors do not fit this site's model.
        Conflict: it adapts another base.
    """
    record = _record(data)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise AdapterError("the file's tensors are malformed", "export the version again") from error
    champion = store.get(store.champion())
    if record.model != store.model or record.base_sha256 != champion.base_sha256:
        raise Conflict(
            f"the file is for model {record.model!r} over base {record.base_sha256[:12]}…, "
            f"this site has {store.model!r} over {champion.base_sha256[:12]}…",
            "import it at a site with the same base and model settings",
        )
    expected = {name: value.shape for name, value in store.load(champion.id).items()}
    if {name: value.shape for name, value in tensors.items()} != expected:
        raise AdapterError("the file's tensors are not those of this site's model", "export the version again")
    if any(value.dtype != np.float32 or not np.isfinite(value).all() for value in tensors.values()):
        raise AdapterError("the file holds a tensor that is not finite float32", "export the version again")
    if adapter_sha256(tensors) != record.sha256:
        raise AdapterError("the file's tensors are not the ones that its record names", "export the version again")
    origin = {"id": record.id, "origin": record.origin, "sha256": record.sha256, "by": author}
    return store.create(
        tensors,
        NewVersion(
            origin="import",
            parent=champion.id,
            base_sha256=record.base_sha256,
            seed=record.seed,
            settings={**record.settings, "imported": origin},
            metrics=record.metrics,
            code_version=__version__,
        ),
    )


def _record(data: bytes) -> Version:
    try:
        length = int.from_bytes(data[:8], "little")
        if not 2 <= length <= min(_HEADER_MAX, len(data) - 8):
            raise ValueError
        metadata: Mapping[str, Any] = json.loads(data[8 : 8 + length])["__metadata__"]
        if metadata["format"] != _FORMAT:
            raise ValueError
        return Version.model_validate_json(metadata["record"])
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
        raise AdapterError("this is no exported version", "use the file of GET /versions/{id}/export") from None
