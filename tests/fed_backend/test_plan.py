"""A plan is read, hashed and refused as people expect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import plan

from fed_backend.errors import PlanError
from fed_backend.methods import build_method
from fed_backend.plan import load_plan, save_plan


def test_file_round_trip_keeps_the_hash(tmp_path: Path) -> None:
    original = plan(labels={"edema": 2, "core": 1})
    save_plan(original, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == original
    assert load_plan(tmp_path / "plan.json").sha256 == original.sha256


def test_hash_ignores_layout_but_not_content(tmp_path: Path) -> None:
    original = plan()
    shuffled = dict(reversed(list(original.model_dump(mode="json").items())))
    (tmp_path / "plan.json").write_text(json.dumps(shuffled))
    assert load_plan(tmp_path / "plan.json").sha256 == original.sha256
    assert plan(rounds=4).sha256 != original.sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {}}, "labels is empty"),
        ({"labels": {"a": 1, "b": 1}}, "share a voxel value"),
        ({"labels": {"a": 0}}, "labels.a"),
        ({"adapter": {}}, "adapter is empty"),
        ({"base_sha256": "xyz"}, "base_sha256"),
        ({"rounds": 0}, "rounds"),
        ({"colour": "red"}, "colour"),
        ({"model": {"name": "sam", "base": "unet"}}, "no base 'unet'"),
        ({"model": {"name": "unet", "base": "sam_tiny"}}, "not 'sam_tiny'"),
        ({"model": {"name": "sam", "base": "sam_tiny", "spatial_dims": 3}}, "spatial_dims must be 2"),
        ({"starters": ["../x"]}, "no site name"),
    ],
)
def test_a_wrong_plan_names_the_field(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan(**changes)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot read"), ("{", "is not JSON"), ("[]", "not a valid plan")]
)
def test_an_unreadable_file_says_what_to_do(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PlanError, match=words) as caught:
        load_plan(path)
    assert caught.value.hint
    assert str(tmp_path) not in str(caught.value)


def test_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(PlanError, match="fedavg"):
        build_method(plan(method={"name": "magic"}))


def test_starters() -> None:
    assert plan().may_start("anyone")
    assert plan(starters=["north"]).may_start("north")
    assert not plan(starters=["north"]).may_start("south")
