"""A federation in one process: the same bytes whatever the order and the number of workers."""

from __future__ import annotations

import hashlib
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fed_backend.errors import FederationError, PayloadError, PlanError
from fed_backend.payload import PayloadHeader, decode, encode
from fed_backend.plan import Plan
from fed_backend.simulation import SimulatedRound, simulate

sys.path.insert(0, str(Path(__file__).parent / "flare"))

from in_process import LEVELS, Site, small_plan, start_payload

SEVERAL = small_plan(adapter=LEVELS, alternatives=[{"name": "fedsca"}])


class Member:
    """A site of the tests of the hub, called directly."""

    def __init__(self, name: str, plan: Plan, examples: int = 1, refuses: str = "") -> None:
        self.name, self._refuses = name, refuses
        self._site = Site(name, plan, examples=examples)
        self.begun: list[bytes] = []
        self.offers: list[bytes] = []

    def train(self, data: bytes) -> bytes:
        self.begun.append(data)
        if self._refuses:
            raise PayloadError(self._refuses)
        return self._site.update(data)

    def offer(self, data: bytes) -> Mapping[str, Any]:
        self.offers.append(data)
        return {"promoted": True}


def members(count: int, plan: Plan = SEVERAL) -> list[Member]:
    return [Member(f"site{number}", plan, 1 + number) for number in range(count)]


def run(sites: list[Member], rounds: int = 3, **options: Any) -> list[SimulatedRound]:
    return list(simulate(SEVERAL, sites, rounds, start=start_payload(SEVERAL), **options))


@pytest.mark.parametrize("method", ["fedavg", "fedsca"])
def test_neither_workers_nor_order_change_a_byte(method: str) -> None:
    one, other = members(5), members(5)
    rounds = run(one, method=method)
    run(other[::-1], method=method, workers=4)
    assert [site.offers for site in one] == [site.offers for site in other]
    for site in one:
        for offered, begun in zip(site.offers, site.begun[1:], strict=False):
            for name, tensor in decode(offered)[1].items():
                np.testing.assert_array_equal(
                    tensor, decode(begun)[1][name], err_msg="a round begins at the last offer"
                )
    assert rounds[0].reports["site0"] == {"promoted": True}
    assert rounds[2].bytes_up["site1"] == len(one[1]._site.updates["simulation", 2])
    assert rounds[2].bytes_down["site1"] > len(one[1].offers[2])


def test_a_site_may_be_away_and_come_back() -> None:
    sites = members(3)
    rounds = run(sites, attends=lambda name, number: name != "site1" or number == 2)
    assert [sorted(r.reports) for r in rounds] == [["site0", "site2"], ["site0", "site2"], ["site0", "site1", "site2"]]
    header, begun = decode(sites[0].offers[1])
    update = decode(sites[1]._site.updates["simulation", 2])
    assert header.kind == "aggregate"
    name = next(iter(begun))
    noise = update[1][name] - begun[name]
    assert 0.5 < np.abs(noise).mean() < 1.5, "it trained from the newest aggregate"


def test_a_site_that_refuses_is_named_and_too_few_updates_end_the_run() -> None:
    sites = [*members(2), Member("sick", SEVERAL, refuses="out of order")]
    assert run(sites, 1)[0].failed == {"sick": "out of order"}
    with pytest.raises(FederationError, match=r"needs 2 \(sick: out of order\)"):
        run([sites[0], sites[2]], 1)


def test_a_method_that_was_not_agreed_on_does_not_run() -> None:
    with pytest.raises(PlanError, match="none of the plan's"):
        run(members(2), method="fedbn")


def test_memory_does_not_grow_with_the_sites() -> None:
    """Of the hub's half; sites here keep nothing."""
    plan = small_plan(adapter={"w": [256, 256]})

    class Light:
        def __init__(self, number: int) -> None:
            self.name, self._number = f"{number:03d}", number

        def train(self, data: bytes) -> bytes:
            header, _ = decode(data)
            reply = PayloadHeader(
                kind="update",
                plan_sha256=plan.sha256,
                base_sha256=plan.base_sha256,
                site=self.name,
                federation_round=header.federation_round,
                round=header.round,
                method="fedavg",
                parent_sha256=hashlib.sha256(data).hexdigest(),
            )
            return encode(reply, {"w": np.full((256, 256), 1 + self._number, np.float32)})

        def offer(self, data: bytes) -> Mapping[str, Any]:
            return {}

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            list(simulate(plan, [Light(number) for number in range(count)], 2))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(64) < 1.5 * peak(8)
