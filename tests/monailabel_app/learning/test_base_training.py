"""The embedded base is trained from seeded pictures, and never on the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from monailabel_app.errors import StateError
from monailabel_app.learning import base_sources, base_training
from monailabel_app.learning.base_check import check_base
from monailabel_app.learning.base_cli import train_base_command
from monailabel_app.learning.base_prompts import corrected, exact_box, first_prompt, largest_error
from monailabel_app.learning.base_shapes import draw
from monailabel_app.learning.base_training import train_base, untrained
from monailabel_app.models.prompting import SlicePrompt


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


def test_prompts_lie_where_they_should() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:40, 10:30] = True
    assert exact_box(mask) == (10, 20, 30, 40)
    for _ in range(50):
        prompt = first_prompt(mask, rng)
        assert prompt.points or prompt.box
        assert all(mask[int(y), int(x)] == inside for x, y, inside in prompt.points)
    shown = mask.copy()
    shown[20:40, 24:30] = False  # missed, the largest error
    shown[0:4, 0:4] = True  # wrong
    assert largest_error(shown ^ mask, mask).sum() == 120
    further = [corrected(shown, mask, SlicePrompt(), rng).points[0] for _ in range(40)]
    assert {inside for _, _, inside in further} == {True, False}
    assert all((shown ^ mask)[int(y), int(x)] and mask[int(y), int(x)] == inside for x, y, inside in further)
    assert corrected(mask, mask, SlicePrompt(), rng) == SlicePrompt()


@pytest.mark.slow
def test_training_is_seeded_goes_on_and_writes_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_training, "KEEP_EVERY", 2)
    whole = train_base(tmp_path / "whole.safetensors", steps=4, seed=0)

    def stop(share: float) -> None:
        if share == 0.75:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_base(tmp_path / "parts.safetensors", steps=4, seed=0, progress=stop)
    with pytest.raises(StateError, match="another training"):
        train_base(tmp_path / "parts.safetensors", steps=4, seed=1)
    assert train_base(tmp_path / "parts.safetensors", steps=4, seed=0) == whole
    assert (tmp_path / "parts.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"parts.safetensors", "whole.safetensors"}
    with safe_open(tmp_path / "whole.safetensors", "np") as weights:
        assert json.loads(weights.metadata()["sam_tiny"]) == {"steps": 4, "seed": 0, "sources": ["procedural"]}
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {np.dtype(np.float16)}  # noqa: SIM118


@pytest.mark.slow
def test_check_compares_with_the_filled_box() -> None:
    scores = check_base(untrained(0), None, pictures=2)["procedural"]
    assert scores.keys() == {"clicks_1", "clicks_3", "clicks_5", "box", "filled_box"}
    assert scores["filled_box"] > 0.4


def test_the_command_wants_one_thing_to_do(tmp_path: Path) -> None:
    for arguments in ([], ["--out", str(tmp_path / "a"), "--check", str(tmp_path / "b")]):
        refused = CliRunner().invoke(train_base_command, arguments)
        assert refused.exit_code == 2
        assert "--out" in refused.output
