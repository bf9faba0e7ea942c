"""Coded words for labels: read from a file, told to clients, refused where they cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monailabel_app.errors import LabelError
from monailabel_app.labels import read_codes

LABELS = {"tumour": 1, "oedema": 2}
CATEGORY = ["SCT", "49755003", "Morphologically Altered Structure"]
TUMOUR = ["SCT", "108369006", "Tumor"]


def read(folder: Path, content: Any) -> dict[str, Any]:
    path = folder / "codes.json"
    path.write_text(json.dumps(content))
    return read_codes(path, LABELS)


def test_codes_are_kept_by_label(tmp_path: Path) -> None:
    content = {"tumour": {"category": CATEGORY, "type": TUMOUR, "region": ["SCT", "12738006", "Brain"]}}
    assert read(tmp_path, content) == content
    assert read(tmp_path, {}) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"liver": {"category": CATEGORY, "type": TUMOUR}}, "'liver' is not in the schema"),
        ({"tumour": {"category": CATEGORY}}, "tumour type: Field required"),
        ({"tumour": {"category": CATEGORY, "type": ["SCT", "1"]}}, "tumour type 2"),
        ({"tumour": {"category": CATEGORY, "type": ["SCT", "1~2", "Tumor"]}}, "tumour type 1"),
        ({"tumour": {"category": CATEGORY, "type": TUMOUR, "colour": "red"}}, "tumour colour"),
        ([], "codes.json"),
    ],
)
def test_codes_that_cannot_be_meant_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        read(tmp_path, content)


def test_a_codes_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"'none\.json' cannot be read"):
        read_codes(tmp_path / "none.json", LABELS)


@pytest.mark.slow
def test_clients_are_told(site: Any) -> None:
    assert site.get("/info/").json()["fedseg"]["codes"] == {"tumour": {"category": CATEGORY, "type": TUMOUR}}
