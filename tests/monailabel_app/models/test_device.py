"""Where networks are computed: the choice, and what a GPU's way of computing does to features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fed_backend.plan import ModelSpec
from monailabel_app.errors import SiteError, Unavailable
from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.cache import FeatureCache, SliceView
from monailabel_app.inference.embeddings.memory import MemoryStore
from monailabel_app.inference.embeddings.priority import Turns
from monailabel_app.inference.embeddings.snapshot import take_snapshot
from monailabel_app.inference.planes import Plane
from monailabel_app.learning.base_cli import train_base_command
from monailabel_app.models.device import choose_device, fastest_numeric, sent
from monailabel_app.models.sam import SamSegmenter

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize(
    ("wanted", "present", "chosen"),
    [
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
    ],
)
def test_what_is_chosen(monkeypatch: pytest.MonkeyPatch, wanted: str, present: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert choose_device(wanted) == chosen


@without_gpu
def test_a_gpu_that_is_asked_for_by_name_and_absent_is_an_error() -> None:
    with pytest.raises(Unavailable, match="finds no GPU") as caught:
        choose_device("cuda")
    assert "--device cpu" in caught.value.hint


def test_other_names_are_refused() -> None:
    with pytest.raises(SiteError, match="'tpu'"):
        choose_device("tpu")


@without_gpu
def test_training_the_base_says_it_too(tmp_path: Path) -> None:
    result = CliRunner().invoke(train_base_command, ["--out", str(tmp_path / "w"), "--steps", "0", "--device", "cuda"])
    assert result.exit_code == 2
    assert "finds no GPU" in result.output
    assert not list(tmp_path.iterdir())


def test_what_stays_on_the_processor_is_not_copied() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert sent(tensor, "cpu") is tensor


def test_autocast_gives_nearly_the_same_features_and_leaves_float32_alone() -> None:
    segmenter = SamSegmenter(ModelSpec(name="sam", base="sam_tiny", image_size=64, lora_blocks=3), {"tumour": 1})
    array = np.random.default_rng(0).normal(100, 20, (40, 44, 3)).astype(np.int16)
    array[10:30, 12:30] += 90
    volume = Volume(array, np.eye(4))
    view = SliceView(volume, Plane.of(volume, 2, 64), window_of(volume), 1)
    found = {}
    for numeric in ("float32", "autocast"):
        snapshot = take_snapshot(segmenter, "v", segmenter.adapter(), numeric=numeric)
        cache = FeatureCache(MemoryStore(), None, Turns())
        found[numeric] = cache.features(snapshot, view).features
        assert all(p.dtype == torch.float32 for p in snapshot.network.parameters())
    exact, near = found["float32"], found["autocast"]
    assert near.dtype == torch.float32
    assert not torch.equal(exact, near)
    assert torch.nn.functional.cosine_similarity(exact.flatten(), near.flatten(), dim=0) > 0.999
    assert fastest_numeric() in ("float32", "bfloat16")
