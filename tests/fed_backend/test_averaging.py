"""FedAvg against plain numpy; LoRA products averaged exactly."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from builders import plan, tensors
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.errors import PlanError
from fed_backend.lora import average_products, pairs
from fed_backend.methods import Update, build_method
from fed_backend.methods.fedavg import FedAvg

PLAN = plan()


def updates(count: int, seed: int = 0) -> list[Update]:
    return [Update(f"site{k}", tensors(seed + k, PLAN), 1 + k) for k in range(count)]


@given(count=st.integers(1, 5), seed=st.integers(0, 100))
def test_mean_is_weighted_by_examples(count: int, seed: int) -> None:
    sent = updates(count, seed)
    got = build_method(PLAN).aggregate(sent)
    total = sum(u.examples for u in sent)
    expected = sum(u.examples / total * u.tensors["conv.weight"].astype(np.float64) for u in sent)
    assert got.keys() == {u.site for u in sent}
    for site in got:
        np.testing.assert_allclose(got[site]["conv.weight"], expected, rtol=1e-6, atol=1e-6)


@given(count=st.integers(1, 4), seed=st.integers(0, 100))
def test_lora_products_are_the_best_rank_r_fit(count: int, seed: int) -> None:
    sent = updates(count, seed)
    got = build_method(PLAN).aggregate(sent)["site0"]
    total = sum(u.examples for u in sent)
    mean = sum(u.examples / total * (u.tensors["block.lora_B"] @ u.tensors["block.lora_A"]) for u in sent)
    u, s, vt = np.linalg.svd(mean)
    best = (u[:, :2] * s[:2]) @ vt[:2]
    np.testing.assert_allclose(got["block.lora_B"] @ got["block.lora_A"], best, atol=1e-4)


def test_mean_of_factors_is_not_the_mean_of_products() -> None:
    sent = updates(3)
    exact = build_method(PLAN).aggregate(sent)["site0"]
    factors = build_method(plan(method={"name": "fedavg", "settings": {"lora_average": "factors"}}))
    inexact = factors.aggregate(sent)["site0"]
    product = exact["block.lora_B"] @ exact["block.lora_A"]
    assert np.abs(product - inexact["block.lora_B"] @ inexact["block.lora_A"]).max() > 0.1
    total = sum(u.examples for u in sent)
    np.testing.assert_allclose(
        inexact["block.lora_A"], sum(u.examples / total * u.tensors["block.lora_A"] for u in sent), atol=1e-6
    )


def test_the_order_of_updates_changes_no_bit() -> None:
    sent = updates(4)
    one = build_method(PLAN).aggregate(sent)
    other = build_method(PLAN).aggregate(sent[::-1])
    for site in one:
        for name in PLAN.adapter:
            assert one[site][name].tobytes() == other[site][name].tobytes()


def test_sites_without_examples_count_equally() -> None:
    sent = [Update("a", tensors(1, PLAN), 0), Update("b", tensors(2, PLAN), 0)]
    got = build_method(PLAN).aggregate(sent)["a"]["conv.weight"]
    np.testing.assert_allclose(got, (sent[0].tensors["conv.weight"] + sent[1].tensors["conv.weight"]) / 2, atol=1e-6)


def test_zero_pairs_stay_zero() -> None:
    zero = (np.zeros((2, 5), np.float32), np.zeros((4, 2), np.float32))
    a, b = average_products([zero, zero], [0.5, 0.5])
    assert not a.any()
    assert not b.any()


def test_a_rank_above_the_matrix_keeps_its_shape() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 3)).astype(np.float32), rng.standard_normal((4, 6)).astype(np.float32)
    new_a, new_b = average_products([(a, b)], [1.0])
    assert (new_a.shape, new_b.shape) == (a.shape, b.shape)
    np.testing.assert_allclose(new_b @ new_a, b @ a, atol=1e-5)


def test_many_sites_need_no_more_memory_than_few_and_give_the_same_mean() -> None:
    """Updates come one by one; LoRA factors turn into one product before they outgrow it."""
    shapes = {"w": (64, 64), "x.lora_A": (2, 48), "x.lora_B": (40, 2)}
    agreed = plan(adapter=shapes)

    def stream(count: int) -> Iterator[Update]:
        for number in range(count):
            yield Update(f"{number:04d}", tensors(number, agreed), 1 + number % 3)

    def peak(count: int) -> int:
        method, examples = FedAvg(agreed), {f"{n:04d}": 1 + n % 3 for n in range(count)}
        tracemalloc.start()
        try:
            method.mean(examples, stream(count))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(400) < 1.5 * peak(40)
    got = FedAvg(agreed).mean({u.site: u.examples for u in stream(40)}, stream(40))
    weights = np.asarray([u.examples for u in stream(40)], np.float64)
    weights /= weights.sum()
    np.testing.assert_allclose(
        got["w"], sum(w * u.tensors["w"] for w, u in zip(weights, stream(40), strict=True)), atol=1e-6
    )
    product = sum(
        w * u.tensors["x.lora_B"].astype(np.float64) @ u.tensors["x.lora_A"]
        for w, u in zip(weights, stream(40), strict=True)
    )
    u, s, vt = np.linalg.svd(product)
    np.testing.assert_allclose(got["x.lora_B"] @ got["x.lora_A"], (u[:, :2] * s[:2]) @ vt[:2], atol=1e-5)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["b", "a"]])
def test_a_stream_that_is_not_the_announced_one_is_refused(names: list[str]) -> None:
    sent = [Update(name, tensors(1, PLAN), 1) for name in names]
    with pytest.raises(ValueError, match=r"did not come|came instead of"):
        FedAvg(PLAN).mean({"a": 1, "b": 1}, sent)


def test_a_lone_half_is_no_pair() -> None:
    assert pairs(["x.lora_A", "y.lora_B", "z.lora_A", "z.lora_B"]) == [("z.lora_A", "z.lora_B")]


def test_bad_updates_are_refused_by_name() -> None:
    method = build_method(PLAN)
    with pytest.raises(ValueError, match="no update"):
        method.aggregate([])
    with pytest.raises(ValueError, match="two updates"):
        method.aggregate([updates(1)[0], updates(1)[0]])
    odd = Update("odd", {**tensors(3, PLAN), "conv.weight": np.zeros((1, 1), np.float32)}, 1)
    with pytest.raises(ValueError, match="the update of 'odd' does not match"):
        method.aggregate([odd, updates(1)[0]])
    with pytest.raises(PlanError, match="lora_average"):
        build_method(plan(method={"name": "fedavg", "settings": {"lora_average": "magic"}}))
