"""The embedded base is trained from seeded pictures, and never on the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from monailabel_app.learning import base_sources
from monailabel_app.learning.base_shapes import draw
from monailabel_app.learning.base_training import check_base, train_base, untrained


def test_pictures_are_seeded_and_hold_visible_objects() -> None:
    for seed in range(12):
        image, objects = draw(96, np.random.default_rng(seed))
        again, _ = draw(96, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, again)
        assert image.shape == (96, 96)
        assert image.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert all(mask.sum() >= 40 for mask in objects)
        assert not np.any(np.sum(objects, axis=0) > 1) if objects else True


def test_held_out_cases_are_never_trained_on(shared_data: Path) -> None:
    for folder, pattern in (("nuclei-dsb2018", "*/images/*.png"), ("hippocampus-msd", "images/*.nii.gz")):
        trained = {p for p, _ in base_sources._pairs(shared_data / folder, pattern, held_out=False)}
        kept = {p for p, _ in base_sources._pairs(shared_data / folder, pattern, held_out=True)}
        assert trained
        assert kept
        assert not trained & kept


@pytest.mark.slow
def test_training_is_seeded_and_writes_float16(tmp_path: Path) -> None:
    losses = [train_base(tmp_path / f"{n}.safetensors", steps=5, seed=0) for n in range(2)]
    assert losses[0] == losses[1]
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()
    with safe_open(tmp_path / "0.safetensors", "np") as weights:
        assert json.loads(weights.metadata()["sam_tiny"]) == {"steps": 5, "seed": 0, "sources": ["procedural"]}
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {np.dtype(np.float16)}  # noqa: SIM118


@pytest.mark.slow
def test_check_compares_with_the_box_itself() -> None:
    scores = check_base(untrained(0), None, pictures=2)["procedural"]
    assert scores.keys() == {"click", "click_best", "box", "corrected", "box_itself"}
    assert scores["box_itself"] > 0.4
