"""Nothing half-checked is averaged: an update that does not fit is refused by its site's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from in_process import NAMES, PLAN, Federation, Site, small_plan, updates

from fed_backend.flare.messages import Message
from fed_backend.methods.fedsm import fedsm_layout
from fed_backend.methods.mixing import weighted_mean, weights_of
from fed_backend.payload import Tensors, decode, encode
from monailabel_app.state.rounds import RoundReport

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
        (lambda t: {n: np.zeros_like(v) for n, v in t.items()}, "'south' holds nothing but zeros"),
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


def test_moments_that_adam_cannot_have_fail_their_site_and_not_the_round(make: Make) -> None:
    selector = {"head.weight": (3, 2), "head.bias": (3,)}
    adapter = {name: list(shape) for name, shape in fedsm_layout({"w": (2, 3)}, selector).items()}
    fedsm = small_plan(method={"name": "fedsm", "settings": {"sites": "north,south,west"}}, adapter=adapter)

    def positive(tensors: Tensors) -> Tensors:
        return {name: np.abs(tensor) for name, tensor in tensors.items()}

    federation = make(
        Site("north", fedsm, spoil=positive), Site("south", fedsm, spoil=positive), Site("west", fedsm), plan=fedsm
    )
    status = federation.run()
    assert status["state"] == "finished"
    records = status["history"][0]["sites"]
    assert [records[name]["state"] for name in NAMES] == ["aggregated", "aggregated", "failed"]
    assert "the update of 'west' holds negative values in tensor 'selector_" in records["west"]["reason"]


def test_reasons_that_quote_others_stay_short_enough_for_every_sites_store(make: Make) -> None:
    def endless(tensors: Tensors) -> Tensors:
        return {**tensors, "x" * 100_000: np.zeros(1, np.float32)}

    sites = [Site(f"site{number}", PLAN, spoil=endless) for number in range(30)]
    status = make(*sites).run(site="site0")
    assert status["state"] == "failed"
    assert "site0: payload from 'site0' holds tensor 'xxx" in status["reason"]
    assert "and 25 more" in status["reason"]
    stored = RoundReport.model_validate(sites[3].statuses[-1])
    assert stored.state == "failed"


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
    header, tensors = decode(message.body)
    return encode(header.model_copy(update={"examples": 99}), tensors)


def test_a_site_may_say_why_it_cannot(make: Make) -> None:
    federation = make()
    federation.sites["west"].refuses = "site 'west' is paused"
    status = federation.run()
    assert status["history"][0]["sites"]["west"]["reason"] == "site 'west' is paused"
    assert status["state"] == "finished"


def test_an_update_for_other_labels_is_refused(make: Make) -> None:
    """The labels are part of the plan: such a site holds another one, whatever its courier says."""
    more = small_plan(labels={"tumour": 1, "oedema": 2})
    federation = make()
    west = federation.sites["west"]
    update, west.update = west.update, lambda start: relabelled(update(start), more.sha256)  # type: ignore[method-assign]
    status = federation.run()
    assert "'west' has plan" in status["history"][0]["sites"]["west"]["reason"]
    assert status["history"][0]["sites"]["north"]["state"] == "aggregated"
    assert not west.offers


def relabelled(data: bytes, plan_sha256: str) -> bytes:
    header, tensors = decode(data)
    return encode(header.model_copy(update={"plan_sha256": plan_sha256}), tensors)


def test_one_site_alone_keeps_its_model_from_round_to_round(make: Make) -> None:
    alone = small_plan(quorum=1)
    federation = make(Site("north", alone), plan=alone)
    assert federation.run(rounds=2)["state"] == "finished"
    north = federation.sites["north"]
    for round_, offer in enumerate(north.offers):
        sent, offered = decode(north.updates["run1", round_])[1], decode(offer)[1]
        np.testing.assert_allclose(offered["conv.weight"], sent["conv.weight"], atol=1e-6)
        products = [t["block.lora_B"] @ t["block.lora_A"] for t in (offered, sent)]
        np.testing.assert_allclose(products[0], products[1], atol=1e-4)
    assert len(north.offers) == 2


def test_a_courier_with_another_plan_takes_no_part(make: Make) -> None:
    other = small_plan(name="another")
    federation = make(Site("north", PLAN), Site("south", PLAN), Site("west", other))
    status = federation.run()
    assert "another plan" in status["history"][0]["sites"]["west"]["reason"]
