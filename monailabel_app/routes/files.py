"""Masks as replies."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from fastapi.responses import Response

from monailabel_app.app_context import Site
from monailabel_app.imaging.files import write_mask
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap

__all__ = ["mask_bytes"]


def mask_bytes(site: Site, labelmap: Labelmap, volume: Volume, labels: Mapping[str, int]) -> Response:
    """A mask on its image's grid as a ``.nii.gz`` download."""
    site.incoming.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.incoming, prefix="mask-") as folder:
        path = Path(folder) / "mask.nii.gz"
        write_mask(labelmap, volume, path, labels)
        data = path.read_bytes()
    return Response(
        data, media_type="application/gzip", headers={"Content-Disposition": 'attachment; filename="mask.nii.gz"'}
    )
