"""What is particular to the U-Net."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fed_backend.plan import ModelSpec
from monailabel_app.errors import NotFound, SiteError
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Labelmap, Prompts
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.models.unet import likeliest

SPEC = ModelSpec(image_size=48, channels=(8, 16))


def test_only_named_tensors_travel() -> None:
    everything = build_segmenter(SPEC, {"core": 1})
    some = build_segmenter(SPEC.model_copy(update={"travels": ("model.0.",)}), {"core": 1})
    assert everything.adapter_shapes().keys() == everything.adapter().keys()
    assert some.adapter_shapes().keys() == {n for n in everything.adapter_shapes() if n.startswith("model.0.")}
    assert some.adapter().keys() == everything.adapter().keys()
    assert some.base_sha256 == everything.base_sha256


def test_instance_normalisation_has_parameters() -> None:
    names = build_segmenter(SPEC, {"core": 1}).adapter_shapes()
    assert any(".adn.N.weight" in name for name in names)


def test_initial_weights_are_those_of_every_platform() -> None:
    first = build_segmenter(SPEC, {"core": 1}).adapter()["model.0.conv.unit0.conv.weight"]
    np.testing.assert_allclose(first.ravel()[:3], [0.27889422, -0.0376994, 0.08376432], rtol=1e-6)


def test_labels_keep_their_values(case: tuple[Volume, Labelmap]) -> None:
    one = build_segmenter(SPEC, {"core": 200})
    assert set(np.unique(one.segment(case[0]))) <= {0, 200}
    assert one.base_sha256 != build_segmenter(SPEC, {"core": 201}).base_sha256


def test_prompts_are_refused_with_a_way_out(case: tuple[Volume, Labelmap]) -> None:
    with pytest.raises(SiteError, match="takes no prompts") as caught:
        build_segmenter(SPEC, {"core": 1}).prompt(case[0], [Prompts("core", [(1, 1, 1)])])
    assert "sam" in caught.value.hint


def test_unknown_model() -> None:
    with pytest.raises(NotFound, match="'vnet'"):
        default_spec("vnet")


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_likeliest_class_is_the_first_of_the_largest(classes: int) -> None:
    shares = torch.randint(0, 4, (3, classes, 5, 6), generator=torch.Generator().manual_seed(classes)).float()
    assert np.array_equal(likeliest(shares).numpy(), shares.numpy().argmax(axis=1))
