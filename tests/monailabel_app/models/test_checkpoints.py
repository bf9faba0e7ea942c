"""Checkpoints of the large bases: fetched, converted once, and never executed."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from fed_backend.plan import ModelSpec
from monailabel_app.errors import StateError, Unavailable
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap, Prompts
from monailabel_app.models.checkpoints import as_safetensors, fetch
from monailabel_app.models.commands import base
from monailabel_app.models.registry import build_segmenter
from monailabel_app.models.sam_build import SHAPES, new_network
from tests.monailabel_app.models.file_server import serve


def _pth(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


SMALL = _pth({"model": {"module.a": torch.arange(6.0).reshape(2, 3), "module.b": torch.ones(4, dtype=torch.half)}})


def test_a_pth_is_converted_once_and_again_when_it_changes(tmp_path: Path) -> None:
    source = tmp_path / "medsam.pth"
    source.write_bytes(SMALL)
    made = as_safetensors(source)
    assert made == tmp_path / "medsam.safetensors"
    assert load_file(made)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    first = made.stat().st_mtime_ns
    assert as_safetensors(source).stat().st_mtime_ns == first
    source.write_bytes(_pth({"a": torch.zeros(1)}))
    assert load_file(as_safetensors(source)).keys() == {"a"}
    assert {p.name for p in tmp_path.iterdir()} == {"medsam.pth", "medsam.safetensors"}


class Exploit:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("how", ["torch", "pickle", "text", "cut"])
def test_nothing_in_a_checkpoint_runs(tmp_path: Path, how: str) -> None:
    evil = Exploit(tmp_path / "owned")
    source = tmp_path / "evil.pth"
    source.write_bytes({"torch": _pth(evil), "pickle": pickle.dumps(evil), "text": b"hello", "cut": SMALL[:500]}[how])
    with pytest.raises(Unavailable, match=r"evil\.pth cannot be read"):
        as_safetensors(source)
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pth"]


def test_a_table_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "optimiser.pth").write_bytes(_pth({"epoch": 3, "w": torch.ones(1)}))
    with pytest.raises(Unavailable, match="no plain table of tensors"):
        as_safetensors(tmp_path / "optimiser.pth")


def test_no_room_for_the_converted_file(tmp_path: Path) -> None:
    (tmp_path / "medsam.pth").write_bytes(SMALL)
    (tmp_path / "medsam.safetensors").mkdir()
    with pytest.raises(StateError, match=r"beside medsam\.pth") as caught:
        as_safetensors(tmp_path / "medsam.pth")
    assert str(tmp_path) not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"medsam.pth", "medsam.safetensors"}


def test_the_command_fetches_checks_and_converts(tmp_path: Path) -> None:
    digest = hashlib.sha256(SMALL).hexdigest()
    with serve(SMALL) as server:
        asked = ["fetch", "medsam", "--to", str(tmp_path), "--url", server.url]
        refused = CliRunner().invoke(base, asked)  # the published digest is another one
        assert refused.exit_code == 2
        assert "another digest" in refused.output
        assert not list(tmp_path.glob("*.safetensors"))
        done = CliRunner().invoke(base, [*asked, "--sha256", digest])
    assert done.exit_code == 0, done.output
    assert digest in done.output
    assert load_file(tmp_path / "medsam.safetensors").keys() == {"a", "b"}


def test_the_command_converts_a_file_that_is_here(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(SMALL)
    assert CliRunner().invoke(base, ["convert", str(tmp_path / "mine.pth")]).exit_code == 0
    assert (tmp_path / "mine.safetensors").is_file()
    gone = CliRunner().invoke(base, ["convert", str(tmp_path / "gone.pth")])
    assert gone.exit_code == 2
    assert "no file gone.pth" in gone.output


@pytest.mark.slow
def test_vit_b_of_the_true_shape_from_download_to_mask(tmp_path: Path, case: tuple[Volume, Labelmap]) -> None:
    network = new_network(SHAPES["sam_vit_b"], 1024)
    assert sum(p.numel() for p in network.parameters()) == 93_735_472  # segment_anything's ViT-B
    body = _pth({name: tensor.half() for name, tensor in network.state_dict().items()})
    with serve(body) as server:
        server.cut = [50_000_000]
        made = fetch("sam_vit_b", tmp_path, url=server.url, sha256=hashlib.sha256(body).hexdigest())
        assert len(server.asked) == 2
    spec = ModelSpec(name="sam", base="sam_vit_b", image_size=256, lora_blocks=2)
    built = build_segmenter(spec, {"core": 1}, checkpoint=made)
    assert built.base_sha256 == build_segmenter(spec, {"core": 1}, checkpoint=tmp_path / "sam_vit_b.pth").base_sha256
    shapes = built.adapter_shapes()
    assert shapes["image_encoder.blocks.11.attn.qkv.lora_A"] == (4, 768)
    assert shapes["image_encoder.blocks.11.attn.qkv.lora_B"] == (2304, 4)
    before = built.adapter()
    options = {"steps": 1, "batch_size": 1, "learning_rate": 1e-3, "weight_decay": 0.0, "proximal": 0.0, "seed": 0}
    assert np.isfinite(next(built.train_steps([case], **options)))  # type: ignore[arg-type]
    trained = built.adapter()
    changed = {name for name in before if not np.array_equal(before[name], trained[name])}
    assert any(name.endswith(".lora_B") for name in changed)
    mask = built.prompt(case[0], [Prompts("core", [(21, 20, 2)])])
    assert mask.shape == case[0].shape
