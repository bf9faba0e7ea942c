"""GCML: who sends, to whom, and what a receiver may keep."""

from __future__ import annotations

import math

import golden
import numpy as np
import pytest
from federations import effective, method_plan, random_tensors
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.errors import PlanError
from fed_backend.methods import METHODS, Update
from fed_backend.methods.gcml import (
    CANDIDATES,
    GCML,
    choose_peer,
    generator,
    is_sender,
    keep_best,
    sender_probabilities,
)

PEERS = ["east", "north", "south", "west"]
PLAN = method_plan("gcml", "sam")


def update(site: str, examples: int, seed: int) -> Update:
    return Update(site, random_tensors(GCML(PLAN).shared_keys(), PLAN, seed), examples)


@given(st.dictionaries(st.sampled_from(PEERS), st.integers(0, 50), min_size=1), st.floats(0, 1))
def test_senders_are_proportional_to_their_data(examples: dict[str, int], share: float) -> None:
    got = sender_probabilities(examples, share)
    total = sum(examples.values())
    for site, count in examples.items():
        want = share * len(examples) * count / total if total else share
        assert got[site] == pytest.approx(min(1.0, want))
    if max(got.values()) < 1:
        assert sum(got.values()) == pytest.approx(share * len(examples))


def test_bad_shares_and_counts_are_refused() -> None:
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="share"):
            sender_probabilities({"a": 1}, share)
    with pytest.raises(ValueError, match="'b' counts -1"):
        sender_probabilities({"a": 1, "b": -1}, 0.5)


def test_draws_have_the_given_rates() -> None:
    sent, chosen = 0, dict.fromkeys(PEERS, 0)
    for exchange in range(2000):
        rng = generator(7, "east", exchange)
        sent += is_sender(rng, 0.3)
        peer = choose_peer(rng, "east", PEERS)
        assert peer is not None
        chosen[peer] += 1
    assert abs(sent / 2000 - 0.3) < 0.04
    assert chosen["east"] == 0
    assert all(abs(chosen[peer] / 2000 - 1 / 3) < 0.04 for peer in PEERS[1:])
    assert not is_sender(generator(0, "a", 0), 0.0)
    assert is_sender(generator(0, "a", 0), 1.0)


def test_draws_repeat_for_a_site_and_differ_between_sites() -> None:
    def draw(seed: int, site: str, exchange: int) -> float:
        return float(generator(seed, site, exchange).random())

    assert draw(1, "east", 2) == draw(1, "east", 2)
    assert len({draw(*a) for a in ((1, "east", 2), (1, "east", 3), (1, "west", 2), (2, "east", 2))}) == 4


def test_the_order_of_peers_does_not_matter_and_nobody_may_be_there() -> None:
    one = [choose_peer(generator(0, "east", k), "east", PEERS) for k in range(20)]
    other = [choose_peer(generator(0, "east", k), "east", PEERS[::-1]) for k in range(20)]
    assert one == other
    assert choose_peer(generator(0, "east", 0), "east", ["east"]) is None
    assert choose_peer(generator(0, "east", 0), "east", []) is None


def test_the_mean_is_weighted_by_size() -> None:
    own, visitor = update("east", 3, 1), update("west", 1, 2)
    got = GCML(PLAN).candidates(own, visitor)
    assert set(got) == set(CANDIDATES)
    mean = effective(got["mean"])
    name = "mask_decoder.mask_tokens.weight"
    want = golden.mean([own.tensors[name], visitor.tensors[name]], [3, 1])
    np.testing.assert_allclose(mean[name], want, atol=1e-6)
    stem = "image_encoder.blocks.2.attn.qkv.lora_"
    products = [u.tensors[stem + "B"].astype(np.float64) @ u.tensors[stem + "A"] for u in (own, visitor)]
    np.testing.assert_allclose(mean[stem + "A product"], golden.best_rank(golden.mean(products, [3, 1]), 2), atol=1e-5)
    swapped = GCML(PLAN).candidates(visitor, own)
    for key in own.tensors:
        assert got["own"][key].tobytes() == own.tensors[key].tobytes() == swapped["visitor"][key].tobytes()
        assert got["mean"][key].tobytes() == swapped["mean"][key].tobytes()


def test_a_bad_visitor_is_refused_by_name() -> None:
    own = update("east", 1, 0)
    tensors = dict(own.tensors)
    name = sorted(tensors)[0]
    for bad, message in (
        (Update("west", {**tensors, name: tensors[name] * np.nan}, 1), "'west' holds NaN"),
        (Update("west", {**tensors, name: tensors[name][:1]}, 1), "'west' does not match"),
        (Update("east", tensors, 1), "two updates from one site"),
    ):
        with pytest.raises(ValueError, match=message):
            GCML(PLAN).candidates(own, bad)


def test_the_best_by_validation_is_kept() -> None:
    assert keep_best({"own": 0.5, "mean": 0.7, "visitor": 0.6}) == "mean"
    assert keep_best({"own": 0.5, "mean": 0.5, "visitor": 0.5}) == "own"
    assert keep_best({"mean": 0.4, "visitor": 0.4}) == "mean"
    assert keep_best({"own": math.nan, "visitor": 0.1}) == "visitor"
    assert keep_best({}) == keep_best({"mean": math.nan}) == "own"  # nothing judged: nothing taken over
    with pytest.raises(ValueError, match="'other' is no candidate"):
        keep_best({"other": 1.0})


def test_the_whole_adapter_travels_to_a_peer_and_no_hub_knows_the_method() -> None:
    assert GCML(PLAN).shared_keys() == PLAN.adapter.keys()
    assert "gcml" not in METHODS
    settings = GCML(PLAN).settings
    assert (settings.share, settings.weight, settings.beta, settings.bound, settings.radius) == (0.25, 1, 0.1, 1, 3)
    with pytest.raises(PlanError, match="beta is -1"):
        GCML(method_plan("gcml", "sam", beta=-1))
