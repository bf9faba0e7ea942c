"""FedProx, FedBN and pFedSAM: FedAvg of what may travel."""

from __future__ import annotations

import numpy as np
import pytest
from builders import header, plan
from federations import MODELS, SAM, UNET, VIT_B, assert_same, method_plan, started, updates

from fed_backend.errors import PlanError
from fed_backend.methods import METHODS, Update
from fed_backend.methods.fedbn import FedBN
from fed_backend.methods.fedprox import FedProx
from fed_backend.methods.fedsca import FedSCA
from fed_backend.methods.names import block_of, matching
from fed_backend.methods.pfedsam import PFedSAM
from fed_backend.payload import encode


def test_fedprox_aggregates_as_fedavg() -> None:
    plan = method_plan("fedprox")
    sent = updates(plan)
    one = started(plan).aggregate(sent)
    other = started(method_plan("fedavg")).aggregate(sent)
    assert all((one[s][n] == other[s][n]).all() for s in one for n in one[s])


def test_fedprox_without_a_pull_is_refused() -> None:
    plan = method_plan("fedprox").model_copy(update={"training": method_plan("fedavg").training})
    with pytest.raises(PlanError, match=r"training.proximal = 0"):
        FedProx(plan)


@pytest.mark.parametrize(
    ("base", "home"),
    [("unet", "model.0.conv.unit0.adn.N.weight"), ("sam", "mask_decoder.transformer.layers.0.norm1.weight")],
)
def test_fedbn_keeps_normalisation_home(base: str, home: str) -> None:
    plan = method_plan("fedbn", base)
    method = FedBN(plan)
    assert method.local_keys() == {home}
    assert method.shared_keys() == plan.adapter.keys() - {home}
    sent = updates(plan)
    full = {name: np.zeros(plan.adapter[name], np.float32) for name in method.local_keys()}
    averaged = started(method_plan("fedavg", base)).aggregate(
        [Update(u.site, {**u.tensors, **full}, u.examples) for u in sent]
    )
    for site, tensors in method.aggregate(sent).items():
        assert_same(tensors, {name: averaged[site][name] for name in tensors})


def test_fedbn_keeps_any_part_home_by_name() -> None:
    method = FedBN(method_plan("fedbn", "unet", local="model.*2.0.*, *.bias"))
    assert method.local_keys() == {
        "model.1.submodule.2.0.conv.weight",
        "model.2.0.conv.weight",
        "model.1.submodule.1.submodule.residual.bias",
    }


def test_fedbn_is_never_silently_fedavg() -> None:
    without = {name: shape for name, shape in UNET.items() if ".adn.N." not in name}
    plan = method_plan("fedbn", "unet").model_copy(update={"adapter": without})
    with pytest.raises(PlanError, match="would keep no tensor local"):
        FedBN(plan)
    with pytest.raises(PlanError, match=r"'\*\.ban\.\*' local, which matches no tensor"):
        FedBN(method_plan("fedbn", "unet", local="*.adn.N.*,*.ban.*"))
    with pytest.raises(PlanError, match="every tensor local"):
        FedBN(method_plan("fedbn", "unet", local="*"))
    with pytest.raises(PlanError, match="no tensor local"):
        FedBN(method_plan("fedbn", "unet", local=""))


def test_pfedsam_sends_lora_pairs_only() -> None:
    method = PFedSAM(method_plan("pfedsam"))
    assert method.shared_keys() == {name for name in SAM if "lora" in name}
    assert PFedSAM(method_plan("pfedsam", shared="*.10.*.lora_*")).shared_keys() == {n for n in SAM if ".10." in n}
    assert PFedSAM(method_plan("pfedsam", "unet")).shared_keys() == UNET.keys()


def test_pfedsam_without_experts_is_fedavg_on_lora() -> None:
    plan = method_plan("pfedsam", mu=0)
    sent = updates(plan)
    lora = {name: shape for name, shape in SAM.items() if "lora" in name}
    fedavg = METHODS["fedavg"](method_plan("fedavg").model_copy(update={"adapter": lora}))
    one, other = PFedSAM(plan).aggregate(sent), fedavg.aggregate(sent)
    assert all((one[s][n] == other[s][n]).all() for s in one for n in lora)
    first = one["east"]
    assert all((tensors[n] == first[n]).all() for tensors in one.values() for n in lora)  # one G at all sites


def test_pfedsam_refuses_a_plan_that_lets_experts_travel() -> None:
    plan = method_plan("pfedsam")
    for name in ("image_encoder.blocks.10.experts.up", "experts.0.gate.weight"):
        with pytest.raises(PlanError, match="travel"):
            PFedSAM(plan.model_copy(update={"adapter": {**plan.adapter, name: (2, 2)}}))
    with pytest.raises(PlanError, match="matches no tensor"):
        PFedSAM(method_plan("pfedsam", shared="*.adapter"))


def test_pfedsam_settings_have_defaults_and_limits() -> None:
    settings = PFedSAM(method_plan("pfedsam")).settings
    assert (settings.experts, settings.width, settings.mu) == (4, 16, 0.5)
    assert (settings.temperature, settings.direction, settings.balance) == (2.0, "forward", 0.01)
    for wrong in ({"experts": 0}, {"experts": 2.5}, {"mu": -1}, {"temperature": 0}, {"direction": "up"}, {"mu": True}):
        with pytest.raises(PlanError, match=next(iter(wrong))):
            PFedSAM(method_plan("pfedsam", **wrong))


def test_blocks_and_patterns_of_names() -> None:
    assert [block_of(name) for name in SAM] == [2, 2, 10, 10, None, None]
    assert [block_of(name) for name in UNET] == [0, 0, 1, 2, 2, None, None]
    assert matching(["a.N.b", "a.n.b", "c"], ["*.N.*", "c"]) == {"a.N.b", "c"}


def test_pfedsam_on_vit_b_at_rank_4_sends_at_most_0_6_megabytes() -> None:
    """Measured at the serialiser, header included; the pairs on ``proj`` beside ``qkv`` would be 0.88 MB."""
    sam = {"name": "sam", "base": "sam_vit_b", "image_size": 1024}
    chosen = {"name": "pfedsam", "settings": {"shared": "*.attn.qkv.lora_*"}}
    agreed = plan(method=chosen, model=sam, adapter=VIT_B)
    keys = PFedSAM(agreed).shared_keys()
    data = encode(header(agreed), {name: np.zeros(VIT_B[name], np.float32) for name in keys})
    assert 12 * 4 * (768 + 2304) * 4 < len(data) <= 600_000


def test_fedsca_with_half_of_the_blocks_of_vit_b_sends_half_of_the_bytes() -> None:
    sizes = {}
    for share in (0.5, 1):
        agreed = plan(method={"name": "fedsca", "settings": {"share": share}}, model=MODELS["sam"], adapter=VIT_B)
        keys = FedSCA(agreed).shared_keys()
        sizes[share] = len(encode(header(agreed), {name: np.zeros(VIT_B[name], np.float32) for name in keys}))
    assert 0.45 * sizes[1] < sizes[0.5] <= 0.55 * sizes[1]
