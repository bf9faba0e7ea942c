"""pFedSAM at a site: the shared part is trained without experts, the experts with it as teacher; they never leave."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sites import LABELS, SAM, UNET, SiteOnDisk, payload, sam_plan, unet_plan, volume

from fed_backend.methods import build_method
from fed_backend.methods.pfedsam import EXPERTS
from fed_backend.objectives.experts import without_experts
from fed_backend.plan import Plan
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Segmenter
from monailabel_app.models.experts import attach_experts, experts_of
from monailabel_app.models.registry import build_segmenter

pytestmark = pytest.mark.slow

CASES = {"t1": "train", "v1": "validation"}
SHARED = {"shared": "*.attn.qkv.lora_*"}


@pytest.fixture(params=["sam", "unet"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return build_segmenter(SAM if request.param == "sam" else UNET, LABELS)


def case(name: str) -> tuple[Volume, np.ndarray]:
    image, mask = volume(name)
    return Volume(image, np.diag([1.0, 1.0, 3.0, 1.0])), mask


def test_untrained_experts_change_nothing_and_teacher_equals_student(segmenter: Segmenter) -> None:
    objective = segmenter.objective([case("a")], batch_size=2, seed=0)
    batch = objective.draw()
    with torch.no_grad():
        before = objective.logits(batch)
        shapes = segmenter.adapter_shapes()
        attach_experts(segmenter, 4, 16, 0)
        attach_experts(segmenter, 4, 16, 0)
        torch.testing.assert_close(objective.logits(batch), before, rtol=0, atol=0)
    assert segmenter.adapter_shapes() == shapes, "what may travel is as before"
    assert {name for name in segmenter.adapter() if EXPERTS in name.split(".")}


def test_a_version_without_experts_switches_them_off_and_copies_have_their_own(segmenter: Segmenter) -> None:
    plain = segmenter.adapter()
    attach_experts(segmenter, 2, 4, 0)
    experts = {name: t for name, t in segmenter.adapter().items() if name not in plain}
    segmenter.load_adapter({**plain, **{name: tensor + np.float32(0.3) for name, tensor in experts.items()}})
    objective = segmenter.objective([case("a")], batch_size=2, seed=0)
    batch = objective.draw()
    with torch.no_grad():
        student = objective.logits(batch)
        with without_experts(experts_of(segmenter)):
            teacher = objective.logits(batch)
        assert not torch.equal(student, teacher)
        twin = copy.deepcopy(segmenter.network)
        for parameter in twin.parameters():
            parameter.zero_()
        torch.testing.assert_close(objective.logits(batch), student, rtol=0, atol=0)
        segmenter.load_adapter(plain)
        torch.testing.assert_close(objective.logits(batch), teacher, rtol=0, atol=0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteOnDisk]:
    made = SiteOnDisk(tmp_path_factory.mktemp("pfedsam"), "north", sam_plan("pfedsam", SHARED), CASES)
    made.allow_anything()
    yield made
    made.state.close()


def test_experts_stay_are_trained_and_serve_with_what_is_received(site: SiteOnDisk) -> None:
    plan = site.plan
    shared = build_method(plan).shared_keys()
    _, sent = site.train(payload(plan, "global"))
    assert sent.keys() == shared
    assert all(".attn.qkv.lora_" in name for name in sent)
    result = site.job("offer", payload(plan, "aggregate", sent))
    assert result["promoted"], result
    champion = site.champion()
    experts = [name for name in champion if EXPERTS in name.split(".")]
    assert any(np.abs(champion[name]).max() > 0 for name in experts if name.endswith(".up")), "stage B moved them"
    _, next_sent = site.train(payload(plan, "global", sent, round_=1))
    assert next_sent.keys() == shared
    again = site.version(site.job("offer", payload(plan, "aggregate", next_sent, round_=1))["version"])
    assert any(not np.array_equal(again[name], champion[name]) for name in experts), "they go on from round to round"


def test_without_stage_b_it_is_fedavg_on_the_shared_part(tmp_path_factory: pytest.TempPathFactory) -> None:
    def trained(plan: Plan) -> dict[str, np.ndarray]:
        made = SiteOnDisk(tmp_path_factory.mktemp("none"), "north", plan, CASES)
        try:
            return made.train(payload(plan, "global"))[1]
        finally:
            made.state.close()

    federated, everything = trained(unet_plan("pfedsam", {"stage_b": 0})), trained(unet_plan("fedavg"))
    assert federated.keys() == everything.keys()
    assert all(np.array_equal(federated[name], everything[name]) for name in federated)
