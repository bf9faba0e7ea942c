"""FedSM: SoftPull's exact properties, weighted means, layout, refusals."""

from __future__ import annotations

import golden
import numpy as np
import pytest
from federations import SAM, SELECTOR, SITES, effective, method_plan, random_tensors, started, updates
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.errors import PlanError
from fed_backend.methods import Update
from fed_backend.methods.fedsm import (
    FIRST_MOMENT,
    GLOBAL,
    PERSONAL,
    SECOND_MOMENT,
    SELECTOR_STEPS,
    FedSM,
    fedsm_layout,
)
from fed_backend.methods.fedsm import SELECTOR as SELECTOR_PREFIX
from fed_backend.methods.softpull import softpull_rows

CONV = "model.0.conv.unit0.conv.weight"


@given(count=st.integers(2, 40), own=st.floats(0, 1))
def test_softpull_keeps_the_mean_and_shrinks_deviations(count: int, own: float) -> None:
    models = np.random.default_rng(count).standard_normal((count, 7))
    pulled = softpull_rows(count, own) @ models
    mean = models.mean(axis=0)
    np.testing.assert_allclose(pulled.mean(axis=0), mean, atol=1e-12)
    np.testing.assert_allclose(pulled - mean, (own * count - 1) / (count - 1) * (models - mean), atol=1e-12)


@given(count=st.integers(2, 12), own=st.floats(0, 1))
def test_softpull_is_the_papers_equation(count: int, own: float) -> None:
    models = list(np.random.default_rng(count).standard_normal((count, 5)))
    np.testing.assert_allclose(softpull_rows(count, own) @ np.stack(models), golden.softpull(models, own), atol=1e-12)


def test_softpull_limits() -> None:
    np.testing.assert_array_equal(softpull_rows(4, 1.0), np.eye(4))
    np.testing.assert_allclose(softpull_rows(4, 0.25), np.full((4, 4), 0.25), atol=1e-15)
    np.testing.assert_array_equal(softpull_rows(1, 0.7), [[1.0]])
    for count, own in ((0, 0.5), (3, -0.1), (3, 1.1), (3, float("nan"))):
        with pytest.raises(ValueError, match="SoftPull"):
            softpull_rows(count, own)


def test_personal_models_are_pulled() -> None:
    plan = method_plan("fedsm", "unet")
    sent = updates(plan)
    got = started(plan).aggregate(sent)
    expected = golden.softpull([u.tensors[PERSONAL + CONV] for u in sent], 0.7)
    for update, want in zip(sent, expected, strict=True):
        np.testing.assert_allclose(got[update.site][PERSONAL + CONV], want, atol=1e-6)


def test_pulled_lora_products_are_the_best_rank_r_fit() -> None:
    plan = method_plan("fedsm")
    sent = updates(plan)
    got = started(plan).aggregate(sent)
    stem = PERSONAL + "image_encoder.blocks.2.attn.qkv.lora_"
    products = [u.tensors[stem + "B"].astype(np.float64) @ u.tensors[stem + "A"] for u in sent]
    for update, want in zip(sent, golden.softpull(products, 0.7), strict=True):
        seen = effective(got[update.site])[stem + "A product"]
        np.testing.assert_allclose(seen, golden.best_rank(want, 2), atol=1e-5)


def test_lambda_one_changes_no_bit_of_the_personal_models() -> None:
    for average in ("products", "factors"):
        plan = method_plan("fedsm", **{"lambda": 1, "lora_average": average})
        sent = updates(plan)
        got = started(plan).aggregate(sent)
        for update in sent:
            for name in update.tensors:
                if name.startswith(PERSONAL):
                    assert got[update.site][name].tobytes() == update.tensors[name].tobytes()


def test_the_global_model_is_a_weighted_mean_and_the_selector_a_plain_one() -> None:
    sent = updates(method_plan("fedsm", "unet"))
    selector = [*(p + "head.weight" for p in (SELECTOR_PREFIX, FIRST_MOMENT, SECOND_MOMENT)), SELECTOR_STEPS]
    for weights, sizes in (("examples", [1, 2, 3, 4]), ("equal", [1, 1, 1, 1])):
        got = started(method_plan("fedsm", "unet", weights=weights)).aggregate(sent)
        for key in (GLOBAL + CONV, *selector):
            want = golden.mean([u.tensors[key] for u in sent], [1, 1, 1, 1] if key in selector else sizes)
            for site in SITES:
                np.testing.assert_allclose(got[site][key], want, atol=1e-6)


def test_groups_do_not_mix() -> None:
    plan = method_plan("fedsm", "unet")
    sent = updates(plan)
    changed = [
        Update(u.site, {n: t * 2 if n.startswith(PERSONAL) else t for n, t in u.tensors.items()}, u.examples)
        for u in sent
    ]
    one, other = started(plan).aggregate(sent), started(plan).aggregate(changed)
    for name in plan.adapter:
        factor = 2 if name.startswith(PERSONAL) else 1
        np.testing.assert_allclose(other["east"][name], factor * one["east"][name], rtol=1e-6)


def test_strangers_and_impossible_moments_are_refused() -> None:
    plan = method_plan("fedsm")
    good = updates(plan)
    with pytest.raises(ValueError, match="no class for 'stranger'"):
        started(plan).aggregate([Update("stranger", good[0].tensors, 1)])
    key = SECOND_MOMENT + "head.bias"
    bad = Update("east", {**good[0].tensors, key: -np.ones(len(SITES), np.float32)}, 1)
    with pytest.raises(ValueError, match=f"'east' holds negative values in tensor '{key}'"):
        started(plan).aggregate([bad])


def test_the_plan_must_hold_all_groups_and_sites() -> None:
    plan = method_plan("fedsm")
    layout = fedsm_layout(SAM, SELECTOR)
    for broken in (
        SAM,
        {n: s for n, s in layout.items() if n != SELECTOR_STEPS},
        {n: s for n, s in layout.items() if not n.startswith(PERSONAL)},
        {**layout, "more": (1,)},
    ):
        with pytest.raises(PlanError, match="does not list"):
            FedSM(plan.model_copy(update={"adapter": broken}))
    for sites in ("", "east,north", "east,east,south,west"):
        with pytest.raises(PlanError, match="classes for the sites"):
            FedSM(method_plan("fedsm", sites=sites))
    with pytest.raises(PlanError, match=r"lambda is 1\.5"):
        FedSM(method_plan("fedsm", **{"lambda": 1.5}))
    settings = FedSM(plan).settings
    assert (settings.own, settings.gamma, settings.sites) == (0.7, 0.9, SITES)


def test_the_layout_counts_every_byte_that_travels() -> None:
    plan = method_plan("fedsm", "unet")
    sizes = {n: t.nbytes for n, t in random_tensors(FedSM(plan).shared_keys(), plan, 0).items()}
    model = sum(b for n, b in sizes.items() if n.startswith(GLOBAL))
    selector = sum(b for n, b in sizes.items() if n.startswith(SELECTOR_PREFIX))
    assert sum(sizes.values()) == 2 * model + 3 * selector + 4
