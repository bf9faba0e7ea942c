"""Nothing half-checked is averaged: an update that does not fit is refused by its site's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from in_process import PLAN, Federation, Site, small_plan, updates

from fed_backend.flare.messages import Message
from fed_backend.methods.mixing import weighted_mean, weights_of
from fed_backend.payload import Tensors, decode

Make = Callable[..., Federation]


def with_spoiled(spoil: Callable[[Tensors], Tensors]) -> list[Site]:
    return [Site("north", PLAN), Site("south", PLAN, spoil=spoil), Site("west", PLAN)]


def _poison(value: float) -> Callable[[Tensors], Tensors]:
    def spoil(tensors: Tensors) -> Tensors:
        tensors["conv.weight"][0, 0] = value
        return tensors

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_poison(float("nan")), "'conv.weight' from 'south' holds NaN"),
        (_poison(float("-inf")), "'conv.weight' from 'south' holds NaN or infinity"),
        (_poison(1e9), "norm"),
        (lambda t: {n: v for n, v in t.items() if n != "conv.weight"}, "lacks tensor 'conv.weight'"),
        (lambda t: {**t, "image": np.zeros((9, 9), np.float32)}, "'image', which may not travel"),
        (lambda t: {**t, "conv.weight": np.zeros((3, 2), np.float32)}, "shape (3, 2)"),
    ],
)
def test_an_update_that_does_not_fit_is_refused_by_name(make: Make, spoil: Any, reason: str) -> None:
    federation = make(*with_spoiled(spoil))
    status = federation.run()
    record = status["history"][0]["sites"]["south"]
    assert record["state"] == "failed"
    assert reason in record["reason"]
    sent = [u for u in updates(federation, 0) if u.site != "south"]
    expected = weighted_mean(sent, weights_of([u.examples for u in sent]))
    offered = decode(federation.sites["north"].offers[0])[1]
    np.testing.assert_array_equal(offered["conv.weight"], expected["conv.weight"])
    assert not federation.sites["south"].offers


def test_an_update_in_anothers_name_is_refused(make: Make) -> None:
    federation = make(Site("north", PLAN), Site("south", PLAN, claims="north"), Site("west", PLAN))
    status = federation.run()
    assert "sender" in status["history"][0]["sites"]["south"]["reason"]


def test_an_update_of_another_round_is_refused(make: Make) -> None:
    federation = make()
    federation.run()
    west = federation.sites["west"]
    west.updates["run2", 0] = west.updates["run1", 0]
    status = federation.run(run="run2")
    assert "federation round 'run1', expected 'run2'" in status["history"][0]["sites"]["west"]["reason"]


def test_an_update_that_did_not_start_from_this_round_is_refused(make: Make) -> None:
    federation = make()
    west = federation.sites["west"]
    federation.drop = lambda site, message: (
        site == "west" and message.topic == "train" and not west.updates and not west.update(b_other(message))
    )
    status = federation.run()
    assert "not from this round's" in status["history"][0]["sites"]["west"]["reason"]


def b_other(message: Message) -> bytes:
    """The same request with other bytes: another number of examples in its header."""
    from fed_backend.payload import encode

    header, tensors = decode(message.body)
    return encode(header.model_copy(update={"examples": 99}), tensors)


def test_a_site_may_say_why_it_cannot(make: Make) -> None:
    federation = make()
    federation.sites["west"].refuses = "site 'west' is paused"
    status = federation.run()
    assert status["history"][0]["sites"]["west"]["reason"] == "site 'west' is paused"
    assert status["state"] == "finished"


def test_a_courier_with_another_plan_takes_no_part(make: Make) -> None:
    other = small_plan(name="another")
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", other))
    status = federation.run()
    assert "another plan" in status["history"][0]["sites"]["west"]["reason"]
