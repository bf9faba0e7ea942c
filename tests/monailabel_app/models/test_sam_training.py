"""SAM in quick pieces gives what segment_anything's own modules give, and a step computes only what changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fed_backend.plan import ModelSpec
from monailabel_app.imaging.volume import Volume
from monailabel_app.models import fused, views
from monailabel_app.models.base import Case, Labelmap
from monailabel_app.models.decoding import decode, decode_all
from monailabel_app.models.encoder import encode_lower, encode_upper
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.models.sam import SamSegmenter
from monailabel_app.models.sam_build import SamShape, new_network
from monailabel_app.models.sam_training import SamObjective
from monailabel_app.models.views import EACH, Views

LABELS = {"core": 1, "oedema": 4}
SMALL = SamShape(32, 3, 2, (1,), 5, 8, 32, 64, rel_pos=True, image_size=64)
"""As ViT-B: relative positions, and windows that do not divide the grid."""
Pair = tuple[Volume, Labelmap]


def built(spec: ModelSpec | None = None) -> SamSegmenter:
    segmenter = build_segmenter(spec or default_spec("sam"), LABELS)
    assert isinstance(segmenter, SamSegmenter)
    return segmenter


@pytest.fixture(scope="module")
def shared() -> SamSegmenter:
    return built()


@pytest.fixture
def sam(shared: SamSegmenter) -> SamSegmenter:
    """A model whose adapter changes the encoder, too."""
    rng = np.random.default_rng(0)
    tensors = {
        n: rng.normal(0, 0.05, s).astype(np.float32) for n, s in shared.adapter_shapes().items() if "lora_B" in n
    }
    shared.load_adapter(tensors)
    return shared


@pytest.fixture
def small() -> Any:
    torch.manual_seed(0)
    network = new_network(SMALL, SMALL.image_size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@contextmanager
def rows_through(module: torch.nn.Module) -> Iterator[list[int]]:
    """The batch sizes that pass a module meanwhile."""
    seen: list[int] = []
    handle = module.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("first", [0, 2, 3])
@torch.no_grad()
def test_two_parts_are_the_encoder(small: Any, first: int) -> None:
    images = torch.randn(2, 3, 64, 64)
    expected = small.image_encoder(images)
    torch.testing.assert_close(encode_upper(small, encode_lower(small, images, first), first), expected)


@pytest.mark.parametrize("before", [False, True])
@torch.no_grad()
def test_masks_are_those_of_the_decoder(small: Any, before: bool) -> None:
    features, tokens = torch.randn(3, 32, 8, 8), torch.randn(3, 4, 32)
    drawn = torch.randn(3, 32, 32) if before else None
    masks, scores = decode_all(small, features, tokens, drawn)
    torch.testing.assert_close(decode(small, features, tokens, drawn), masks[:, 0])
    encoder = small.prompt_encoder
    for n in range(3):
        blank = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 8, 8)
        dense = blank if drawn is None else encoder._embed_masks(drawn[n : n + 1, None])
        own, quality = small.mask_decoder.predict_masks(
            features[n : n + 1], encoder.get_dense_pe(), tokens[n : n + 1], dense
        )
        torch.testing.assert_close(masks[n], own[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores[n], quality[0], atol=1e-4, rtol=1e-4)


def test_fused_attention_has_the_same_gradients(small: Any) -> None:
    quick = copy.deepcopy(small)
    fused.fuse_encoder(quick)
    fused.fuse_decoder(quick)
    images, tokens = torch.randn(2, 3, 64, 64), torch.randn(2, 6, 32)

    def gradients(network: Any) -> dict[str, Tensor]:
        decode(network, network.image_encoder(images), tokens).square().mean().backward()
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    expected, found = gradients(small), gradients(quick)
    assert "image_encoder.blocks.1.attn.rel_pos_h" in expected
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3)
    fused.plain_encoder(quick)
    assert [type(block.attn) for block in quick.image_encoder.blocks] == [
        type(block.attn) for block in small.image_encoder.blocks
    ]


def test_below_the_adapted_blocks_every_view_is_encoded_once(sam: SamSegmenter, case: Pair) -> None:
    objective = sam.objective([case], batch_size=4, seed=0)
    encoder: Any = sam.network.image_encoder
    with rows_through(encoder.blocks[0]) as lower, rows_through(encoder.blocks[3]) as upper:
        for _ in range(20):
            objective()
    slices = case[0].shape[2]
    assert sum(lower) <= EACH * slices < 80
    assert upper == [4] * 20, "one pass of each batch, corrections included"


def test_drawing_and_asking_is_what_a_step_does(sam: SamSegmenter, case: Pair) -> None:
    together, apart = (sam.objective([case], batch_size=3, seed=5) for _ in range(2))
    for _ in range(4):
        batch = apart.draw()
        torch.testing.assert_close(together(), apart.loss(apart.logits(batch), batch))


def test_a_batch_holds_nothing_of_the_adapter_that_drew_it(sam: SamSegmenter, case: Pair) -> None:
    host, guest = sam, copy.deepcopy(sam)
    guest.load_adapter({name: 2 * tensor for name, tensor in sam.adapter().items() if "lora_B" in name})
    mine, theirs = (one.objective([case], batch_size=3, seed=1) for one in (host, guest))
    batch, other = mine.draw(), theirs.draw()
    torch.testing.assert_close(batch.features, other.features, rtol=0, atol=0)
    with torch.no_grad():
        answers = [objective.logits(batch) for objective in (mine, theirs, mine)]
    assert not torch.allclose(answers[0], answers[1]), "each model computes its own adapted blocks"
    torch.testing.assert_close(answers[0], answers[2], rtol=0, atol=0)
    images: Any = guest.network.image_encoder
    blocks = batch.features
    for block in images.blocks[3:]:
        blocks = block(blocks)
    whole = images.neck(blocks.permute(0, 3, 1, 2))
    torch.testing.assert_close(theirs._embed(batch.features), whole, atol=1e-4, rtol=1e-4)


def test_with_all_blocks_adapted_every_view_is_new(case: Pair) -> None:
    everything = built(default_spec("sam").model_copy(update={"lora_blocks": 0}))
    objective = everything.objective([case], batch_size=2, seed=0)
    encoder: Any = everything.network.image_encoder
    with rows_through(encoder.patch_embed) as drawn, rows_through(encoder.blocks[0]) as encoded:
        for _ in range(3):
            objective().backward()
    assert drawn == encoded == [2] * 3
    first = "image_encoder.blocks.0.attn.qkv.lora_B"
    assert everything.trainable.parameters[first].grad.abs().max() > 0  # type: ignore[union-attr]


def test_views_stay_within_their_limit(sam: SamSegmenter, case: Pair) -> None:
    example = sam.objective([case], batch_size=1, seed=0)._examples[0]
    one = Views(sam.network, 3, mirror=True, rng=np.random.default_rng(0)).draw([(example, 2)])[0]
    assert one.features.dtype == torch.float16
    pool = Views(sam.network, 3, mirror=True, rng=np.random.default_rng(0), limit=5 * one.nbytes)
    drawn = [pool.draw([(example, index), (example, index)]) for index in range(6)]
    assert len(pool) == 5
    assert all(len(pair) == 2 for pair in drawn)


def test_a_view_drawn_twice_in_one_batch_is_made_once(sam: SamSegmenter, case: Pair, monkeypatch: Any) -> None:
    monkeypatch.setattr(views, "EACH", 1)
    example = sam.objective([case], batch_size=1, seed=0)._examples[0]
    pool = Views(sam.network, 3, mirror=True, rng=np.random.default_rng(0))
    a, b = pool.draw([(example, 2), (example, 2)])
    assert a is b
    assert len(pool) == 1


def test_a_second_version_is_scored_on_features_that_are_there(sam: SamSegmenter, case: Pair) -> None:
    fresh = built()
    versions = [sam.adapter(), {name: t * 0 for name, t in sam.adapter().items() if "lora_B" in name}]
    encoder: Any = fresh.network.image_encoder
    masks = []
    with rows_through(encoder.blocks[0]) as lower, rows_through(encoder.neck[2]) as upper:
        for tensors in versions:
            fresh.load_adapter(tensors)
            masks.append(fresh.segment(case[0]))
    slices = case[0].shape[2]
    assert sum(lower) == slices, "the frozen part, once"
    assert sum(upper) == 2 * slices
    for tensors, mask in zip(versions, masks, strict=True):
        alone = built()
        alone.load_adapter({**sam.adapter(), **tensors})
        np.testing.assert_array_equal(alone.segment(case[0]), mask)


def test_labels_that_nobody_annotated_are_not_asked_for(sam: SamSegmenter, case: Pair) -> None:
    objective = sam.objective([Case(*case, annotated=frozenset({4}))], batch_size=4, seed=0)
    assert isinstance(objective, SamObjective)
    assert {label for _ in range(4) for label in objective.draw().labels} == {1}
