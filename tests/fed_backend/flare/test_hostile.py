"""Hostile sites against the hub's own code: what is refused, what is scaled down or left out, and that it is said."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import header, plan, tensors
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from in_process import NAMES, Federation, Site, small_plan, start_payload

from fed_backend.errors import FederationError, PayloadError
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.messages import Message
from fed_backend.payload import Tensors, decode, encode

Make = Callable[..., Federation]
Spoil = Callable[[Tensors], Tensors]

FOUR = [*NAMES, "x-hostile"]


def scaled(by: float) -> Spoil:
    return lambda update: {name: tensor * np.float32(by) for name, tensor in update.items()}


def noise(update: Tensors) -> Tensors:
    rng = np.random.default_rng(1)
    return {name: 100 * rng.standard_normal(tensor.shape).astype(np.float32) for name, tensor in update.items()}


def backdoor(update: Tensors) -> Tensors:
    """One coordinate far off, the rest as honest sites send it."""
    changed = {name: tensor.copy() for name, tensor in update.items()}
    changed["conv.weight"][0, 0] += 50
    return changed


ATTACKS: dict[str, Spoil] = {"scaled": scaled(100), "flipped": scaled(-100), "noise": noise, "backdoor": backdoor}


def hostile(make: Make, spoil: Spoil, examples: int = 4, **changes: Any) -> tuple[Federation, dict[str, Any]]:
    of = small_plan(**{"quorum": 3, **changes})
    sites = [Site(name, of) for name in NAMES] + [Site(FOUR[3], of, spoil=spoil, examples=examples)]
    federation = make(*sites, plan=of, start=start_payload(of), name=of.sha256)
    return federation, federation.run()


def offered(federation: Federation) -> Tensors:
    return decode(federation.sites["north"].offers[0])[1]


def far(federation: Federation) -> float:
    """How far the aggregate lies from what the honest sites sent, at the most."""
    honest = [decode(federation.sites[name].updates["run1", 0])[1] for name in NAMES]
    found = offered(federation)["conv.weight"]
    return float(np.abs(found - np.mean([update["conv.weight"] for update in honest], axis=0)).max())


@pytest.mark.parametrize("attack", sorted(ATTACKS))
@pytest.mark.parametrize("robust", [{"rule": "median", "hostile": 1}, {"rule": "trimmed_mean", "hostile": 1}])
def test_a_rule_per_coordinate_bears_one_of_four(make: Make, attack: str, robust: dict[str, Any]) -> None:
    plain, _ = hostile(make, ATTACKS[attack])
    borne, status = hostile(make, ATTACKS[attack], robust=robust)
    assert far(plain) > 10 > 3 > far(borne)
    assert status["state"] == "finished"
    notes = {site: record["note"] for site, record in status["history"][0]["sites"].items()}
    assert not any(notes[name] for name in NAMES)
    if attack != "backdoor":  # a single value that is left out is nothing unusual
        assert "were left out as the lowest or highest" in notes[FOUR[3]]


def test_krum_leaves_the_outlier_out_and_says_so(make: Make) -> None:
    of = small_plan(quorum=5, robust={"rule": "krum", "hostile": 1})
    names = [*FOUR[:3], "east", FOUR[3]]
    sites = [Site(name, of, spoil=scaled(-100) if name == FOUR[3] else scaled(1)) for name in names]
    federation = make(*sites, plan=of)
    status = federation.run()
    notes = {site: record["note"] for site, record in status["history"][0]["sites"].items()}
    chosen = [name for name in names if not notes[name]]
    assert len(chosen) == 1 != chosen.count(FOUR[3])
    assert notes[FOUR[3]].startswith(f"left out: krum chose {chosen[0]}")
    sent = decode(federation.sites[chosen[0]].updates["run1", 0])[1]
    assert all(np.array_equal(tensor, sent[name]) for name, tensor in offered(federation).items())


def test_a_change_that_is_too_large_is_scaled_down_in_every_round(make: Make) -> None:
    of = small_plan(quorum=3, robust={"clip": 2.0})
    sites = [Site(name, of) for name in NAMES] + [Site(FOUR[3], of, spoil=scaled(1000))]
    federation = make(*sites, plan=of, start=start_payload(of))
    status = federation.run(rounds=3)
    before: Tensors = {name: np.zeros(shape, np.float32) for name, shape in of.adapter.items()}
    for round_, record in enumerate(status["history"]):
        after = decode(federation.sites["north"].offers[round_])[1]
        np.testing.assert_array_less(np.abs(after["conv.weight"] - before["conv.weight"]), 2.0 + 1e-5)
        assert "above the plan's 2" in record["sites"][FOUR[3]]["note"]
        before = after


def test_a_change_above_the_bound_is_refused_by_name(make: Make) -> None:
    federation, status = hostile(make, scaled(1000), robust={"clip": 20.0, "max_change": 40.0})
    record = status["history"][0]["sites"][FOUR[3]]
    assert record["state"] == "failed"
    assert "changes the round's start by a norm of" in record["reason"]
    assert not federation.sites[FOUR[3]].offers
    assert far(federation) < 1e-6


def test_a_site_that_claims_many_examples_counts_once(make: Make) -> None:
    plain, _ = hostile(make, ATTACKS["flipped"], examples=2**31 - 1)
    once, _ = hostile(make, ATTACKS["flipped"], examples=2**31 - 1, robust={"clip": 1.0})
    assert far(plain) > 50 > 5 > far(once)


def test_a_hub_that_must_know_the_start_does_not_run_without_it() -> None:
    of = plan(robust={"clip": 1.0})
    with pytest.raises(FederationError, match=r"holds no fitting start of 'block\.lora_A'"):
        Aggregator(of, "fedavg")
    Aggregator(of, "fedavg", start=start_payload(of))


@pytest.mark.parametrize("spoiled", [b"", b"x" * 100, b"\xff" * 16, struct.pack("<Q", 2**62) + b"{}"])
def test_a_malformed_answer_fails_its_site_only(make: Make, spoiled: bytes) -> None:
    of = small_plan()
    federation = make(*[Site(name, of) for name in NAMES], plan=of)
    federation.sites["west"].updates["run1", 0] = spoiled
    status = federation.run()
    assert status["state"] == "finished"
    assert status["history"][0]["sites"]["west"]["state"] == "failed"


def test_an_oversized_answer_is_refused_unread(make: Make) -> None:
    of = small_plan(max_payload_bytes=4096)
    federation = make(*[Site(name, of) for name in NAMES], plan=of)
    federation.sites["west"].updates["run1", 0] = bytes(5000)
    record = federation.run()["history"][0]["sites"]["west"]
    assert "5000 bytes; the plan allows 4096" in record["reason"]


def test_an_answer_in_anothers_name_or_of_an_earlier_round_is_not_taken(make: Make) -> None:
    of = small_plan()
    federation = make(*[Site(name, of) for name in NAMES], plan=of)
    federation.run()
    replay = Message("result", {"task": "run1/0/train", "ok": True}, federation.sites["west"].updates["run1", 0])
    before = federation.coordinator.status()
    federation.coordinator.receive("west", replay)
    federation.coordinator.receive("stranger", replay)
    assert federation.coordinator.status() == before
    federation.sites["south"].updates["run2", 0] = federation.sites["west"].updates["run1", 0]
    status = federation.run(run="run2")
    assert "has sender 'west', expected 'south'" in status["history"][0]["sites"]["south"]["reason"]


PLAN = plan()
START = Aggregator(PLAN, "fedavg").begin("run1", 0, None)
GOOD = encode(header(PLAN), tensors(1, PLAN))
JSON_END = 8 + struct.unpack("<Q", GOOD[:8])[0]


def judged(data: bytes) -> bool:
    """Whether the hub takes an answer; anything but a plain refusal is an error of the hub."""
    try:
        Aggregator(PLAN, "fedavg").check(data, "north", "run1", 0, START)
    except PayloadError:
        return False
    return True


entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "", "F8_E4M3", None, 3]),
        "shape": st.lists(st.integers(-2, 2**63), max_size=4) | st.just("wide"),
        "data_offsets": st.lists(st.integers(-1, 2**64), min_size=1, max_size=3),
        "more": st.none(),
    },
)


@seed(0)
@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from([*PLAN.adapter, "__metadata__", "other"]), entries), st.binary(max_size=64))
def test_a_fuzzed_table_of_tensors_is_refused(table: dict[str, Any], rest: bytes) -> None:
    whole = json.loads(GOOD[8:JSON_END])
    text = json.dumps({**whole, **table, "__metadata__": table.get("__metadata__", whole["__metadata__"])}).encode()
    taken = judged(struct.pack("<Q", len(text)) + text + (rest or GOOD[JSON_END:]))
    assert not taken or not (table.keys() - {"__metadata__"})


@seed(0)
@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(json.loads(json.loads(GOOD[8:JSON_END])["__metadata__"]["fedseg"]))),
    st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)),
)
def test_a_fuzzed_header_is_refused_or_says_the_same(field: str, value: object) -> None:
    whole = json.loads(GOOD[8:JSON_END])
    said = json.loads(whole["__metadata__"]["fedseg"])
    whole["__metadata__"]["fedseg"] = json.dumps({**said, field: value})
    text = json.dumps(whole).encode()
    taken = judged(struct.pack("<Q", len(text)) + text + GOOD[JSON_END:])
    free = field in ("examples", "metrics")  # the site's own figures
    assert not taken or free or value == said[field] or (field, value) == ("parent_sha256", "")


@seed(0)
@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, JSON_END - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_of_the_header_never_harm_the_hub(flips: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in flips:
        data[position] = value
    judged(bytes(data))


@pytest.mark.parametrize("examples", [10**12, 10**400])
def test_a_count_of_examples_that_no_hospital_has_is_refused(examples: int) -> None:
    text = GOOD[8:JSON_END].replace(rb"\"examples\": 4", b'\\"examples\\": ' + str(examples).encode())
    assert len(text) > JSON_END - 8
    assert not judged(struct.pack("<Q", len(text)) + text + GOOD[JSON_END:])
