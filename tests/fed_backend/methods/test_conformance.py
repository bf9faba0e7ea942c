"""What every method must do, at a hub or between peers, on SAM's and the U-Net's names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from builders import header, plan
from federations import PAIRS, SITES, assert_same, made, method_plan, random_tensors, started, updates

from fed_backend.errors import PayloadError, PlanError
from fed_backend.methods import METHODS, StatefulMethod, Update, build_method
from fed_backend.payload import check, encode

every_method = pytest.mark.parametrize(("name", "base"), PAIRS)
at_a_hub = pytest.mark.parametrize(("name", "base"), [pair for pair in PAIRS if pair[0] in METHODS])
"""A peer hears one visitor at a time: it has no round that somebody could miss, and nothing to be restarted with."""


def as_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))


@every_method
def test_a_payload_holds_exactly_what_may_leave(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    method = made(agreed)
    keys = method.shared_keys()
    assert method.name == name
    assert keys
    assert keys <= agreed.adapter.keys()
    sent = random_tensors(keys, agreed, 1)
    _, received = check(encode(header(agreed), sent), agreed, kind="update", keys=keys)
    assert as_bytes(received) == as_bytes(sent)
    with pytest.raises(PayloadError, match="may not travel"):
        check(encode(header(agreed), {**sent, "secret": np.zeros(1)}), agreed, kind="update", keys=keys)
    with pytest.raises(PayloadError, match="lacks tensor"):
        check(encode(header(agreed), dict(list(sent.items())[1:])), agreed, kind="update", keys=keys)


@every_method
def test_every_sender_is_offered_the_shared_tensors(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    method = started(agreed)
    offered = method.aggregate(updates(agreed))
    assert set(offered) == set(SITES)
    for tensors in offered.values():
        assert tensors.keys() == method.shared_keys()
        for key, tensor in tensors.items():
            assert (tensor.shape, tensor.dtype) == (agreed.adapter[key], np.float32)
            assert np.isfinite(tensor).all()


@every_method
def test_the_order_of_arrival_changes_no_bit(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    sent = updates(agreed)
    one, other = started(agreed).aggregate(sent), started(agreed).aggregate(sent[::-1])
    assert {site: as_bytes(one[site]) for site in SITES} == {site: as_bytes(other[site]) for site in SITES}


@every_method
def test_permuting_the_sites_permutes_the_results(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    sent = {update.site: update for update in updates(agreed)}
    turned = dict(zip(SITES, SITES[1:] + SITES[:1], strict=True))
    one = started(agreed).aggregate(list(sent.values()))
    other = started(agreed).aggregate([Update(turned[s], u.tensors, u.examples) for s, u in sent.items()])
    for site in SITES:
        assert_same(other[turned[site]], one[site], 1e-4)


@every_method
def test_sites_may_come_and_go_between_rounds(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    method = started(agreed)
    for number, present in enumerate([SITES, SITES[:2], SITES[1:], SITES[3:], SITES]):
        offered = method.aggregate(updates(agreed, present, seed=number))
        assert set(offered) == set(present)
        assert all(np.isfinite(t).all() for tensors in offered.values() for t in tensors.values())


@at_a_hub
def test_an_absent_site_has_no_say(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    present = SITES[:3]
    alone, after = started(agreed), started(agreed)
    expected = alone.aggregate(updates(agreed, present))
    with pytest.raises(ValueError, match="'west'"):
        after.aggregate([*updates(agreed, present), Update("west", {}, 5)])
    got = after.aggregate(updates(agreed, present))  # a refused round leaves no trace
    assert {s: as_bytes(got[s]) for s in present} == {s: as_bytes(expected[s]) for s in present}


@every_method
def test_one_site_alone_keeps_its_model(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    sent = updates(agreed, SITES[:1])
    assert_same(started(agreed).aggregate(sent)[SITES[0]], sent[0].tensors)


@every_method
def test_sites_that_agree_are_offered_what_they_sent(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    tensors = updates(agreed)[0].tensors
    for offered in started(agreed).aggregate([Update(site, tensors, 3) for site in SITES]).values():
        assert_same(offered, tensors)


@every_method
def test_sites_without_examples_count_alike(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    none = [Update(u.site, u.tensors, 0) for u in updates(agreed)]
    alike = [Update(u.site, u.tensors, 7) for u in updates(agreed)]
    one, other = started(agreed).aggregate(none), started(agreed).aggregate(alike)
    for site in SITES:
        assert_same(one[site], other[site])


@every_method
@pytest.mark.parametrize(("harm", "message"), [("shape", "has shape"), ("nan", "NaN"), ("inf", "NaN or infinity")])
def test_a_bad_tensor_is_refused_by_site_and_name(name: str, base: str, harm: str, message: str) -> None:
    agreed = method_plan(name, base)
    sent = updates(agreed)
    key = sorted(sent[2].tensors)[0]
    tensor = sent[2].tensors[key].copy()
    tensor.flat[0] = {"shape": 0.0, "nan": np.nan, "inf": np.inf}[harm]
    sent[2].tensors[key] = tensor[..., None] if harm == "shape" else tensor
    with pytest.raises(ValueError, match=message) as refused:
        started(agreed).aggregate(sent)
    assert SITES[2] in str(refused.value)
    assert key in str(refused.value)


@at_a_hub
def test_foreign_missing_and_repeated_are_refused(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    method, good = started(agreed), updates(agreed)
    with pytest.raises(ValueError, match="no update"):
        method.aggregate([])
    with pytest.raises(ValueError, match="two updates from one site"):
        method.aggregate([good[0], good[0]])
    with pytest.raises(ValueError, match="'secret' may not travel"):
        method.aggregate([Update("east", {**good[0].tensors, "secret": np.zeros(1, np.float32)}, 1)])
    with pytest.raises(ValueError, match="is missing"):
        method.aggregate([Update("east", dict(list(good[0].tensors.items())[1:]), 1)])
    with pytest.raises(ValueError, match="-1 examples"):
        method.aggregate([Update("east", good[0].tensors, -1)])


@every_method
def test_equal_input_gives_equal_bytes_and_is_left_alone(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    before = [as_bytes(u.tensors) for u in updates(agreed)]
    runs = []
    for _ in range(2):
        method, sent = started(agreed), updates(agreed)
        rounds = [method.aggregate(sent), method.aggregate(updates(agreed, seed=1))]
        runs.append([as_bytes(offered[site]) for offered in rounds for site in SITES])
        assert [as_bytes(u.tensors) for u in sent] == before
    assert runs[0] == runs[1]


@at_a_hub
def test_a_restart_between_rounds_changes_no_bit(name: str, base: str) -> None:
    agreed = method_plan(name, base)
    steady, stopped = started(agreed), started(agreed)
    for number in range(3):
        sent = updates(agreed, SITES[number:] or SITES, seed=number)
        one, other = steady.aggregate(sent), stopped.aggregate(sent)
        assert {s: as_bytes(t) for s, t in one.items()} == {s: as_bytes(t) for s, t in other.items()}
        fresh = made(agreed)
        if isinstance(stopped, StatefulMethod):
            assert isinstance(fresh, StatefulMethod)
            fresh.restore({key: tensor.astype(np.float32) for key, tensor in stopped.state().items()})
        stopped = fresh


@every_method
def test_settings_are_never_ignored(name: str, base: str) -> None:
    with pytest.raises(PlanError, match="no setting 'lambada'"):
        made(method_plan(name, base, lambada=0.5))
    with pytest.raises(PlanError, match="lora_average"):
        made(method_plan(name, base, lora_average="magic"))


def test_methods_are_built_by_name() -> None:
    for name in METHODS:
        assert build_method(method_plan(name)).name == name
    with pytest.raises(PlanError, match="no federated method is called 'nothing'"):
        build_method(plan(method={"name": "nothing"}))


def test_the_hub_needs_no_torch() -> None:
    code = "import sys, fed_backend.methods.gcml, fed_backend.objectives.routing; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
