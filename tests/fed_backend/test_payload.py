"""A payload carries tensors exactly, and is refused by name when anything does not fit."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import header, plan, tensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from fed_backend.errors import PayloadError
from fed_backend.payload import check, decode, encode

PLAN = plan()
GOOD = encode(header(PLAN), tensors(1, PLAN))


def accept(data: bytes) -> Any:
    return check(data, PLAN, kind="update", site="north", federation_round="run1", round=0)


def test_round_trip_is_exact_and_deterministic() -> None:
    sent = tensors(1, PLAN)
    got_header, got = accept(GOOD)
    assert got_header == header(PLAN)
    assert got.keys() == sent.keys()
    for name in sent:
        np.testing.assert_array_equal(got[name], sent[name])
    assert encode(header(PLAN), dict(reversed(list(sent.items())))) == GOOD


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan_sha256": "cd" * 32}, "has plan"),
        ({"base_sha256": "cd" * 32}, "has base"),
        ({"kind": "aggregate"}, "has kind"),
        ({"method": "gcml"}, "has method"),
        ({"site": "south"}, "has sender"),
        ({"federation_round": "run2"}, "has federation round"),
        ({"round": 3}, "has round"),
    ],
)
def test_a_foreign_header_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        accept(encode(header(PLAN, **changes), tensors(1, PLAN)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("conv.weight"), "lacks tensor 'conv.weight'"),
        (lambda t: t.update(patient=np.zeros(1, np.float32)), "holds tensor 'patient'"),
        (lambda t: t.update({"conv.weight": np.zeros((3, 2), np.float32)}), r"shape \(3, 2\)"),
        (lambda t: t["conv.weight"].__setitem__((0, 0), np.nan), "NaN or infinity"),
        (lambda t: t["conv.weight"].__setitem__((0, 0), np.inf), "NaN or infinity"),
        (lambda t: t["conv.weight"].fill(1e6), "norm"),
    ],
)
def test_tensors_the_plan_does_not_list_are_refused(change: Any, words: str) -> None:
    content = tensors(1, PLAN)
    change(content)
    with pytest.raises(PayloadError, match=words):
        accept(encode(header(PLAN), content))


def test_an_oversized_payload_is_refused_before_it_is_parsed() -> None:
    small = plan(max_payload_bytes=10)
    with pytest.raises(PayloadError, match="the plan allows 10"):
        check(b"\xff" * 11, small, kind="update")


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_foreign_dtype_is_refused(dtype: Any) -> None:
    raw = save({"x": np.zeros(2, dtype)}, metadata={"fedseg": header(PLAN).model_dump_json()})
    with pytest.raises(PayloadError, match="dtype"):
        decode(raw)


def test_half_precision_comes_back_as_float32() -> None:
    half = save({"x": np.array([1.5, -2], np.float16)}, metadata={"fedseg": header(PLAN).model_dump_json()})
    np.testing.assert_array_equal(decode(half)[1]["x"], np.array([1.5, -2], np.float32))


def test_what_may_not_travel_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    file = tmp_path / "payload"
    file.write_bytes(save({"image": np.zeros(2**22, np.int8)}, metadata={"fedseg": header(PLAN).model_dump_json()}))
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            check(file, PLAN, kind="update")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@given(cut=st.integers(0, len(GOOD) - 1))
def test_a_truncated_payload_is_refused(cut: int) -> None:
    with pytest.raises(PayloadError):
        accept(GOOD[:cut])


@given(data=st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        accept(data)


@given(position=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_one_changed_byte_is_refused_or_stays_well_formed(position: int, value: int) -> None:
    damaged = bytearray(GOOD)
    damaged[position] = value
    try:
        _, got = accept(bytes(damaged))
    except PayloadError:
        return
    assert {name: t.shape for name, t in got.items()} == PLAN.adapter
    assert all(np.isfinite(t).all() for t in got.values())
