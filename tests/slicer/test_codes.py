"""L0 and L1: coded words for structures, where a site tells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import vtk
from case_desk import affine_of, random_image
from FedSegLib.protocol import site_info
from FedSegLib.scene import SlicerScene
from volume_files import nrrd

CATEGORY = ["SCT", "49755003", "Morphologically Altered Structure"]
TUMOUR = {"category": CATEGORY, "type": ["SCT", "108369006", "Tumor"], "region": ["SCT", "12738006", "Brain"]}


def schema_with(**codes: Any) -> Any:
    told = {"models": {}, "fedseg": {"version": "1", "labels": {"tumour": 5, "edema": 2}, "codes": codes}}
    return site_info(json.dumps(told).encode()).schema


def tag_of(scene: Any, case: Any, name: str) -> str:
    inside = scene.GetNodeByID(case.segmentation).GetSegmentation()
    segment = inside.GetSegment(inside.GetSegmentIdBySegmentName(name))
    found = vtk.reference("")
    segment.GetTag("TerminologyEntry", found)
    return str(found)


def test_segments_carry_the_codes_that_the_site_tells(scene: Any, tmp_path: Path) -> None:
    path = tmp_path / "image.nrrd"
    path.write_bytes(nrrd(random_image(), affine_of("RAS")))
    case = SlicerScene().open_image(path, "case", schema_with(tumour=TUMOUR))
    tag = tag_of(scene, case, "tumour")
    assert tag == (
        "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure"
        "~SCT^108369006^Tumor~^^~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
    )
    assert "SCT^108369006" not in tag_of(scene, case, "edema")


@pytest.mark.parametrize(
    "codes",
    [
        {},
        {"category": CATEGORY},
        {"category": CATEGORY, "type": ["SCT", "1"]},
        {"category": CATEGORY, "type": ["SCT", "1~2", "x"]},
        {"category": CATEGORY, "type": ["SCT", 108369006, "Tumor"]},
        {"category": CATEGORY, "type": ["SCT", "", "Tumor"]},
        {"category": "SCT", "type": ["SCT", "108369006", "Tumor"]},
    ],
)
def test_codes_that_cannot_be_used_leave_name_and_colour(codes: dict[str, Any]) -> None:
    schema = schema_with(tumour=codes)
    assert schema.names == ("edema", "tumour")
    assert all(label.codes is None for label in schema.labels)
