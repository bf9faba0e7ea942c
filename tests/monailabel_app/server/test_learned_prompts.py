"""From an annotator's clicks to a version whose record names them, at a real site."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from monailabel_app.state.given import digest_of, stood_by
from monailabel_app.state.site import SiteState

pytestmark = pytest.mark.slow


def test_a_version_names_the_clicks_that_it_was_trained_on(
    site: Any, truth: Callable[[str, Path, Path], Path], until: Callable[..., Any], tmp_path: Path
) -> None:
    def post(path: str, **body: Any) -> requests.Response:
        reply = requests.post(site.url + path, json=body, timeout=120)
        assert reply.ok, reply.text
        return reply

    session = post("/sessions", image="ras", label="tumour").json()["session"]
    steps = f"/sessions/{session}/prompts"
    post(steps, foreground=[[9, 12, 3]], axis="k")
    post(steps, foreground=[[1, 1, 3]], axis="k")
    post(f"/sessions/{session}/undo")
    post(steps, background=[[20, 25, 3]], axis="k")
    post(steps, box=[6, 8, 4, 13, 17, 4], axis="k")
    saved = site.save("ras", truth("ras", site.studies, tmp_path))
    assert saved.status_code == 200, saved.text

    job = post("/learning", model="sam", steps=2).json()["job"]
    state = until(lambda: _done(site.get("/learning").json(), job), 300)
    assert state["state"] == "done", state
    version = state["result"]["version"]
    record = json.loads((site.state / "versions" / "sam" / version / "version.json").read_text())
    with SiteState(site.state, site.studies, own=False) as reader:
        (correction,) = [c for c in reader.corrections.newest("train") if c.case == "ras"]
        kept = reader.prompts.of_correction(correction.id)
    given = stood_by(kept)
    assert [(one.foreground, one.background, one.box) for one in given] == [
        (((9, 12, 3),), (), None),
        ((), ((20, 25, 3),), None),
        ((), (), (6, 8, 4, 13, 17, 4)),
    ], "the click that was undone is not among them"
    (data,) = [data for data in record["data"] if data["correction"] == correction.id]
    assert data["prompts_sha256"] == digest_of(given) != ""


def _done(state: dict[str, Any], job: str) -> dict[str, Any] | None:
    return state if state["job"] == job and state["state"] in ("done", "failed", "cancelled") else None
