"""Points and boxes, the adapter's names, and checkpoints that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fed_backend.lora import pairs
from fed_backend.plan import ModelSpec
from monailabel_app.errors import GeometryError, LabelError, SiteError, Unavailable
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap, Prompts
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.models.sam import SamSegmenter
from monailabel_app.models.sam_build import SHAPES, TINY_WEIGHTS

SPEC = default_spec("sam")
LABELS = {"core": 1, "oedema": 4}
Case = tuple[Volume, Labelmap]


@pytest.fixture(scope="module")
def sam() -> SamSegmenter:
    built = build_segmenter(SPEC, LABELS)
    assert isinstance(built, SamSegmenter)
    return built


def test_shipped_weights_are_small() -> None:
    assert TINY_WEIGHTS.stat().st_size <= 10 * 2**20
    assert all(t.dtype == torch.float16 for t in load_file(TINY_WEIGHTS).values())


def test_adapter_is_pairs_prompts_and_decoder(sam: SamSegmenter) -> None:
    shapes = sam.adapter_shapes()
    found = pairs(list(shapes))
    assert len(found) == 2 * SPEC.lora_blocks
    for a, b in found:
        assert shapes[a][0] == shapes[b][1] == SPEC.lora_rank
        assert not sam.adapter()[b].any(), "the initial adapter must leave the base as it is"
    assert {"default_prompt.core", "default_prompt.oedema"} <= shapes.keys()
    assert any(name.startswith("mask_decoder.") for name in shapes)
    assert not any(name.startswith("image_encoder.") and ".lora_" not in name for name in shapes)


def test_lora_alone_and_on_all_blocks() -> None:
    spec = SPEC.model_copy(update={"decoder": False, "lora_blocks": 0, "lora_rank": 2})
    shapes = build_segmenter(spec, {"core": 1}).adapter_shapes()
    assert not any(name.startswith("mask_decoder.") for name in shapes)
    assert len(pairs(list(shapes))) == 2 * SHAPES["sam_tiny"].depth


def test_mask_is_zero_but_on_prompted_slices(sam: SamSegmenter, case: Case) -> None:
    mask = sam.prompt(
        case[0],
        [
            Prompts("core", foreground=[(21, 20, 2)], background=[(2, 2, 2)]),
            Prompts("oedema", box=(8, 10, 4, 16, 29, 4)),
        ],
    )
    assert mask.shape == case[0].shape
    assert not mask[:, :, [0, 1, 3, 5]].any()
    assert set(np.unique(mask[:, :, 2])) <= {0, 1}
    assert set(np.unique(mask[:, :, 4])) <= {0, 4}


def test_prompts_follow_the_storage_of_the_volume(sam: SamSegmenter, case: Case) -> None:
    volume = case[0]
    flipped = Volume(
        np.ascontiguousarray(volume.array[::-1].transpose(2, 0, 1)),
        volume.affine @ np.array([[0, -1, 0, 39], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]),
    )
    plain = sam.prompt(volume, [Prompts("core", [(20, 12, 2)], [(3, 30, 2)], (8, 10, 2, 26, 29, 2))])
    turned = sam.prompt(flipped, [Prompts("core", [(2, 19, 12)], [(2, 36, 30)], (2, 31, 10, 2, 13, 29))])
    assert plain.any()
    np.testing.assert_array_equal(turned, plain[::-1].transpose(2, 0, 1))


def test_the_shipped_base_follows_a_box(sam: SamSegmenter, case: Case) -> None:
    here = sam.prompt(case[0], [Prompts("core", box=(8, 10, 2, 25, 29, 2))])[:, :, 2] == 1
    inside = case[1][:, :, 2] > 0
    assert (here & inside).sum() / (here | inside).sum() > 0.5


BAD = {
    "outside": (Prompts("core", [(40, 0, 0)]), GeometryError, "outside the image of 40 x 44 x 6"),
    "negative": (Prompts("core", background=[(0, -1, 0)]), GeometryError, "outside"),
    "box outside": (Prompts("core", box=(0, 0, 0, 10, 44, 0)), GeometryError, "outside"),
    "box across slices": (Prompts("core", box=(0, 0, 1, 10, 10, 3)), GeometryError, "across 3 slices"),
    "empty": (Prompts("core"), SiteError, "empty"),
    "unknown label": (Prompts("liver", [(1, 1, 1)]), LabelError, "'liver'"),
}


@pytest.mark.parametrize(("prompt", "error", "says"), BAD.values(), ids=BAD.keys())
def test_bad_prompts(sam: SamSegmenter, case: Case, prompt: Prompts, error: type[SiteError], says: str) -> None:
    with pytest.raises(error, match=says):
        sam.prompt(case[0], [prompt])


def test_no_prompt_and_a_label_prompted_twice(sam: SamSegmenter, case: Case) -> None:
    with pytest.raises(SiteError, match="no prompt"):
        sam.prompt(case[0], [])
    with pytest.raises(SiteError, match="twice"):
        sam.prompt(case[0], [Prompts("core", [(1, 1, 1)]), Prompts("core", [(2, 2, 1)])])


def test_second_prompt_on_a_slice_does_not_encode_again(sam: SamSegmenter, case: Case) -> None:
    passes = []
    handle = sam._network.image_encoder.neck[2].register_forward_hook(lambda *_: passes.append(1))
    try:
        sam.load_adapter({})  # forgets what earlier tests left
        first = sam.prompt(case[0], [Prompts("core", [(21, 20, 2)])])
        again = sam.prompt(Volume(case[0].array.copy(), case[0].affine), [Prompts("core", [(21, 20, 2)])])
        assert len(passes) == 1
        np.testing.assert_array_equal(first, again)
        sam.prompt(case[0], [Prompts("core", [(21, 20, 3)])])
        assert len(passes) == 2
    finally:
        handle.remove()


def test_a_new_adapter_is_seen_at_once(sam: SamSegmenter, case: Case) -> None:
    before, prompt = sam.adapter(), [Prompts("core", [(21, 20, 2)])]
    sam.prompt(case[0], prompt)
    empty = {name: t * 0 for name, t in before.items() if "hypernetworks" in name}
    sam.load_adapter(empty)
    assert not sam.prompt(case[0], prompt).any()
    sam.load_adapter(before)


@pytest.mark.parametrize("base", ["sam_vit_b", "medsam"])
def test_missing_checkpoint_says_what_to_do(tmp_path: Path, base: str) -> None:
    spec = ModelSpec(name="sam", base=base, image_size=256)
    for checkpoint in (None, tmp_path / "gone.pth"):
        with pytest.raises(Unavailable, match=base) as caught:
            build_segmenter(spec, LABELS, checkpoint=checkpoint)
        assert "--checkpoint" in caught.value.hint
        assert str(tmp_path) not in str(caught.value)


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    spec = ModelSpec(name="sam", base="sam_vit_b", image_size=256)
    with pytest.raises(Unavailable, match="is no sam_vit_b"):
        build_segmenter(spec, LABELS, checkpoint=TINY_WEIGHTS)
    state = load_file(TINY_WEIGHTS)
    state.pop("mask_decoder.iou_token.weight")
    save_file(state, tmp_path / "half.safetensors")
    with pytest.raises(Unavailable, match=r"lacks mask_decoder\.iou_token\.weight"):
        build_segmenter(SPEC, LABELS, checkpoint=tmp_path / "half.safetensors")


def test_size_that_does_not_divide() -> None:
    with pytest.raises(Unavailable, match="no multiple"):
        build_segmenter(SPEC.model_copy(update={"image_size": 100}), LABELS)


def test_other_sizes_resample_position_embeddings(case: Case) -> None:
    small = build_segmenter(SPEC.model_copy(update={"image_size": 128}), LABELS)
    assert small.segment(case[0]).shape == case[0].shape
    assert small.base_sha256 != build_segmenter(SPEC, LABELS).base_sha256
