"""FedSCA: similarity, weights, memory over rounds, partial transmission."""

from __future__ import annotations

import math

import golden
import numpy as np
import pytest
from federations import SAM, SITES, UNET, assert_same, effective, method_plan, random_tensors, started, updates
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.errors import PlanError
from fed_backend.methods import Update
from fed_backend.methods.fedsca import FedSCA, low_level
from fed_backend.methods.similarity import Memory, cosines, mixing_rows

START = {"w": np.linspace(-50, 50, 12, dtype=np.float32).reshape(3, 4), "b": np.full(2, 9, np.float32)}


def adapters(count: int, seed: int, scale: float = 0.1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        {n: (t + scale * rng.standard_normal(t.shape)).astype(np.float32) for n, t in START.items()}
        for _ in range(count)
    ]


def difference(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([tensors[n].astype(np.float64).ravel() - START[n].ravel() for n in START])


@given(count=st.integers(1, 6), seed=st.integers(0, 50))
def test_similarity_is_the_cosine_of_differences(count: int, seed: int) -> None:
    sent = adapters(count, seed)
    got = cosines(sent, START, products=True)
    assert (got == got.T).all()
    assert (np.diag(got) == 1).all()
    assert (np.abs(got) <= 1).all()
    for k in range(count):
        for j in range(count):
            want = golden.cosine(difference(sent[k]), difference(sent[j]))
            np.testing.assert_allclose(got[k, j], want, atol=1e-9)


def test_raw_cosines_would_hide_what_differences_show() -> None:
    a, b = adapters(2, 1)
    raw = golden.cosine(*[np.concatenate([t.ravel() for t in x.values()]).astype(np.float64) for x in (a, b)])
    assert raw > 0.999
    assert cosines([a, b], START, products=True)[0, 1] < 0.6


def test_lora_pairs_are_compared_as_products() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5)).astype(np.float32), rng.standard_normal((6, 2)).astype(np.float32)
    turn = np.asarray([[0, 2], [-0.5, 0]], np.float32)  # another basis of the same product
    other = rng.standard_normal((2, 5)).astype(np.float32), rng.standard_normal((6, 2)).astype(np.float32)
    sent = [{"x.lora_A": f, "x.lora_B": g} for f, g in ((a, b), (turn @ a, b @ np.linalg.inv(turn)), other)]
    got = cosines(sent, {}, products=True)
    np.testing.assert_allclose(got[0, 1], 1, atol=1e-6)
    want = golden.cosine((b @ a).astype(np.float64), (other[1] @ other[0]).astype(np.float64))
    np.testing.assert_allclose(got[0, 2], want, atol=1e-6)
    zero = {name: np.zeros_like(t) for name, t in sent[0].items()}
    assert cosines(sent, zero, products=False)[0, 1] < 0.9


def test_sites_that_did_not_move_are_alike_and_resemble_no_other() -> None:
    still = {name: t.copy() for name, t in START.items()}
    got = cosines([still, adapters(1, 3)[0], still], START, products=True)
    np.testing.assert_array_equal(got, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


@given(
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=6),
    seed=st.integers(0, 30),
    tau=st.floats(0.05, 10),
    floor=st.booleans(),
)
def test_weights_follow_the_equation(sizes: list[int], seed: int, tau: float, floor: bool) -> None:
    sent = adapters(len(sizes), seed)
    got = mixing_rows(cosines(sent, START, products=True), sizes, tau, floor=floor)
    np.testing.assert_allclose(got, golden.sgca([difference(t) for t in sent], sizes, tau, floor), atol=1e-9)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-12)
    if floor:
        assert (np.diag(got) >= 1 / len(sizes) - 1e-15).all()


def test_infinite_tau_is_fedavg() -> None:
    similarity = cosines(adapters(3, 0), START, products=True)
    rows = mixing_rows(similarity, [1, 2, 5], math.inf, floor=False)
    np.testing.assert_allclose(rows, np.tile([1 / 8, 2 / 8, 5 / 8], (3, 1)), atol=1e-15)
    alike = mixing_rows(similarity, [4, 4, 4], math.inf)
    np.testing.assert_allclose(alike, np.full((3, 3), 1 / 3), atol=1e-15)
    plan = method_plan("fedsca", share=1, tau=1e9, floor=False)
    sent = updates(plan)
    one, other = started(plan).aggregate(sent), started(method_plan("fedavg")).aggregate(sent)
    for site in SITES:
        assert_same(one[site], other[site])


def test_identical_sites_get_equal_weights() -> None:
    same = [adapters(1, 0)[0]] * 4
    rows = mixing_rows(cosines(same, START, products=True), [3] * 4, 0.1)
    np.testing.assert_array_equal(rows, np.full((4, 4), 0.25))


def test_extreme_weights_stay_finite() -> None:
    similarity = np.asarray([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(mixing_rows(similarity, [1, 10**9], 1e-6), np.eye(2))
    np.testing.assert_allclose(mixing_rows(similarity, [0, 3], 0.1), [[0.5, 0.5], [0, 1]])
    for tau in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="tau"):
            mixing_rows(similarity, [1, 1], tau)


def test_each_site_receives_its_own_mix() -> None:
    plan = method_plan("fedsca", "unet", share=1)
    sent = updates(plan)
    method = FedSCA(plan)
    start = random_tensors(method.start_keys(), plan, 5)
    method.begin(start)
    got = method.aggregate(sent)
    names = sorted(start)
    differences = [np.concatenate([(u.tensors[n].astype(np.float64) - start[n]).ravel() for n in names]) for u in sent]
    rows = golden.sgca(differences, [u.examples for u in sent], 0.1, True)
    for k, update in enumerate(sent):
        for name in names:
            want = sum(rows[k, j] * sent[j].tensors[name].astype(np.float64) for j in range(len(sent)))
            np.testing.assert_allclose(got[update.site][name], want, atol=1e-5)


def test_similarity_is_smoothed_over_rounds() -> None:
    fresh = np.asarray([[1.0, 0.5], [0.5, 1.0]])
    memory = Memory.empty().updated(["a", "c"], fresh, 0.75)
    np.testing.assert_array_equal(memory.among(["a", "c"]), fresh)
    memory = memory.updated(["a", "b"], np.asarray([[1.0, -0.25], [-0.25, 1.0]]), 0.75)
    assert memory.among(["a", "c"])[0, 1] == 0.5  # c was absent: kept
    assert memory.among(["a", "b"])[0, 1] == -0.25  # met for the first time
    assert math.isnan(memory.among(["b", "c"])[0, 1])
    memory = memory.updated(["a", "c"], -fresh + 2 * np.eye(2), 0.75)
    assert memory.among(["c", "a"])[0, 1] == 0.75 * 0.5 - 0.25 * 0.5


def test_the_method_uses_the_smoothed_similarity() -> None:
    first, second = (updates(method_plan("fedsca", "unet"), seed=k) for k in (1, 2))
    results = []
    for keep in (0.0, 0.9):
        method = started(method_plan("fedsca", "unet", keep=keep))
        method.aggregate(first)
        results.append(method.aggregate(second))
    fresh = started(method_plan("fedsca", "unet")).aggregate(second)
    name = "model.0.conv.unit0.conv.weight"
    np.testing.assert_array_equal(results[0]["east"][name], fresh["east"][name])
    assert np.abs(results[1]["east"][name] - fresh["east"][name]).max() > 1e-3


def test_low_blocks_travel() -> None:
    low, high = ({n for n in SAM if f".{block}." in n} for block in (2, 10))
    names = list(SAM)
    assert low_level(names, 0) == frozenset()
    assert low_level(names, 0.5) == low
    assert low_level(names, 0.01) == low  # whole blocks, never silently none
    assert low_level(names, 0.75) == low | high
    assert low_level(names, 1) == set(names)
    assert {n for n in UNET if n in low_level(list(UNET), 2 / 3)} == set(list(UNET)[:3])
    with pytest.raises(PlanError, match="no encoder block"):
        low_level(["decoder.weight"], 0.5)


def test_no_block_is_local_only() -> None:
    plan = method_plan("fedsca", share=0)
    method = started(plan)
    assert method.shared_keys() == frozenset()
    assert method.aggregate([Update("east", {}, 1), Update("west", {}, 2)]) == {"east": {}, "west": {}}


def test_the_start_must_be_told() -> None:
    plan = method_plan("fedsca", "unet")
    method = FedSCA(plan)
    with pytest.raises(ValueError, match="not told the start"):
        method.aggregate(updates(plan))
    good = random_tensors(method.start_keys(), plan, 1)
    name = sorted(good)[0]
    for bad, message in (
        ({n: t for n, t in good.items() if n != name}, "lacks"),
        ({**good, name: good[name][:1]}, "has shape"),
        ({**good, name: np.full_like(good[name], np.nan)}, "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            method.begin(bad)
    assert FedSCA(method_plan("fedsca")).start_keys() == frozenset()  # LoRA products start at zero
    factors = method_plan("fedsca", lora_average="factors")
    assert FedSCA(factors).start_keys() == FedSCA(factors).shared_keys()


def test_a_foreign_state_is_refused() -> None:
    method = FedSCA(method_plan("fedsca"))
    for state in ({"other": np.zeros(1)}, {"similarity/a": np.zeros(2)}):
        with pytest.raises(ValueError, match="no state of method 'fedsca'"):
            method.restore(state)
    method.restore({})  # before the first round


def test_lora_mix_is_the_best_rank_r_fit() -> None:
    plan = method_plan("fedsca", tau=1e9, floor=False)
    sent = updates(plan)
    stem = "image_encoder.blocks.2.attn.qkv.lora_"
    products = [u.tensors[stem + "B"].astype(np.float64) @ u.tensors[stem + "A"] for u in sent]
    want = golden.best_rank(golden.mean(products, [u.examples for u in sent]), 2)
    got = effective(started(plan).aggregate(sent)["south"])
    np.testing.assert_allclose(got[stem + "A product"], want, atol=1e-5)
