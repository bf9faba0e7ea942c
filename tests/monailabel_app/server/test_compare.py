"""Two versions on a case, and versions as files, over a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests

pytestmark = pytest.mark.slow


def test_a_version_is_exported_imported_compared_and_promoted_with_a_warning(
    site: Any, tmp_path: Path, truth: Callable[[str, Path, Path], Path]
) -> None:
    assert site.save("ras", truth("ras", site.studies, tmp_path)).status_code == 200
    base = site.get("/versions?model=unet").json()["champion"]["unet"]
    exported = site.get(f"/versions/{base}/export")
    assert exported.headers["content-disposition"] == f'attachment; filename="{base}.safetensors"'
    sent = requests.post(f"{site.url}/versions/import?model=unet", files={"file": exported.content}, timeout=60)
    assert sent.status_code == 201, sent.text
    arrived = sent.json()["version"]
    bad = requests.post(f"{site.url}/versions/import?model=unet", files={"file": b"nothing"}, timeout=60)
    assert (bad.status_code, bad.json()["error"]) == (422, "AdapterError")

    query = f"case=ras&one={base}&two={arrived}"
    found = site.get(f"/versions/compare?{query}").json()
    assert found["changed_voxels"] == 0
    assert found["agreement"] == {"tumour": 1.0, "oedema": 1.0}
    assert set(found["dice"]) == {"tumour", "oedema"}
    reply = site.get(f"/versions/compare/mask?{query}&what=difference")
    (tmp_path / "difference.nii.gz").write_bytes(reply.content)
    difference, image = nib.load(tmp_path / "difference.nii.gz"), nib.load(site.studies / "ras.nii.gz")
    assert difference.shape == image.shape
    assert np.allclose(difference.affine, image.affine)
    assert not np.asarray(difference.dataobj).any()

    reply = requests.post(f"{site.url}/versions/{arrived}/promote", timeout=60).json()
    assert reply["champion"] == arrived
    assert "has not judged" in reply["warning"]
    assert requests.post(f"{site.url}/versions/{arrived}/rollback", timeout=60).json()["champion"] == base


@pytest.mark.parametrize(
    "query", ["case=ras&one=unet-0000-000000&two=unet-0000-000000", "case=../x&one=a&two=b", "case=ras&one=x&two=x"]
)
def test_what_is_not_there_cannot_be_compared(site: Any, query: str) -> None:
    reply = site.get(f"/versions/compare?{query}")
    assert reply.status_code in (400, 404)
    assert reply.json()["hint"]


def test_a_submission_that_annotates_one_label_is_judged_by_that_label(
    site: Any, tmp_path: Path, truth: Callable[[str, Path, Path], Path]
) -> None:
    assert site.save("ras", truth("ras", site.studies, tmp_path), annotated=["oedema"]).status_code == 200
    newest = site.get("/corrections?case=ras").json()["corrections"][-1]
    assert newest["annotated"] == {"oedema": 2}
    base = site.get("/versions?model=unet").json()["champion"]["unet"]
    found = site.get(f"/versions/compare?case=ras&one={base}&two={base}").json()
    assert set(found["dice"]) == {"oedema"}
