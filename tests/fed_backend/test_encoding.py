"""Smaller payloads: what they lose, what they weigh, and that nothing lost is lost for good."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import header, plan
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.encoding import dequantised, quantised
from fed_backend.errors import PayloadError
from fed_backend.methods import METHODS, build_method, exact_of
from fed_backend.methods.fedsm import SECOND_MOMENT
from fed_backend.payload import PayloadHeader, Tensors, check, decode, encode, encode_update, read_header
from fed_backend.plan import Plan
from fed_backend.simulation import simulate

sys.path.insert(0, str(Path(__file__).parent / "flare"))
sys.path.insert(0, str(Path(__file__).parent / "methods"))

from federations import SITES, method_plan, random_tensors
from in_process import start_payload

WIDE = {"w": (64, 64)}
INT8 = plan(adapter=WIDE, encoding="int8")


def normal(seed: int, scale: float = 1.0) -> Tensors:
    return {"w": (scale * np.random.default_rng(seed).standard_normal((64, 64))).astype(np.float32)}


@given(seed=st.integers(0, 50), size=st.floats(1e-6, 1e6))
def test_a_step_is_the_most_that_is_lost(seed: int, size: float) -> None:
    start, tensors = normal(seed, size), normal(seed + 1, size)
    steps, scales, lost = quantised(tensors, start, {})
    assert np.abs(steps["w"]).max() == 127
    assert np.abs(lost["w"]).max() <= 0.5001 * scales["w"]
    back = dequantised(steps, scales, start)["w"] + lost["w"]
    np.testing.assert_allclose(back, tensors["w"], rtol=1e-5, atol=1e-6 * size)


def test_nothing_changed_is_nothing_lost() -> None:
    steps, scales, lost = quantised(normal(1), normal(1), {})
    assert (scales["w"], np.abs(steps["w"]).max(), np.abs(lost["w"]).max()) == (0.0, 0, 0.0)


def test_what_a_round_loses_the_next_one_sends() -> None:
    """Many tiny steps in one direction, each far below int8's step beside one large value."""
    position, received, residual = {"w": np.zeros((2, 50), np.float32)}, np.zeros((2, 50)), {}
    without = np.zeros((2, 50))
    move = np.full((2, 50), 0.001, np.float32)
    for number in range(200):
        move[0, 0] = 1.0 if number % 2 else -1.0
        wanted = {"w": position["w"] + move}
        steps, scales, residual = quantised(wanted, position, residual)
        received += dequantised(steps, scales, position)["w"] - position["w"]
        steps, scales, _ = quantised(wanted, position, {})
        without += dequantised(steps, scales, position)["w"] - position["w"]
    assert received[1, 7] == pytest.approx(0.2, rel=0.05)
    assert without[1, 7] == 0.0, "without feedback the tiny steps never arrive"


def test_bytes_at_the_serialiser() -> None:
    sizes = {}
    for encoding in ("float32", "float16", "int8"):
        agreed = plan(adapter=WIDE, encoding=encoding)
        data, _ = encode_update(header(agreed), normal(2), agreed, start=normal(1), residual={}, exact=())
        sizes[encoding] = len(data) - len(read_header(data).model_dump_json())
        got = check(data, agreed, kind="update", start=normal(1))[1]["w"]
        np.testing.assert_allclose(got, normal(2)["w"], atol={"float32": 0, "float16": 2e-3, "int8": 0.04}[encoding])
    assert sizes["float16"] < 0.52 * sizes["float32"]
    assert sizes["int8"] < 0.28 * sizes["float32"]


def test_differences_are_only_taken_where_the_plan_says_so_and_from_the_right_start() -> None:
    data, lost = encode_update(header(INT8), normal(2), INT8, start=normal(1), residual={}, exact=())
    assert lost
    with pytest.raises(PayloadError, match="do not fit what they start from"):
        check(data, INT8, kind="update")
    with pytest.raises(PayloadError, match="do not fit what they start from"):
        check(data, INT8, kind="update", start={"w": np.zeros((2, 2), np.float32)})
    other = plan(adapter=WIDE)
    forged = encode(PayloadHeader(**{**header(other).model_dump(), "scales": {"w": 1.0}}), {"w": np.ones((64, 64))})
    with pytest.raises(PayloadError, match="the plan does not allow"):
        check(forged, other, kind="update", start=normal(1))
    huge = PayloadHeader(**{**header(INT8).model_dump(), "scales": {"w": 1e300}})
    with pytest.raises(PayloadError, match=r"NaN or infinity|norm"), np.errstate(over="ignore"):
        check(encode(huge, {"w": np.ones((64, 64))}), INT8, kind="update", start=normal(1))


def test_float16_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(PayloadError, match="above 65504"):
        encode(header(INT8), {"w": np.full((64, 64), 1e5, np.float32)}, half=True)


class Member:
    """A site that moves every tensor a little, with seeds of its own; encodes as its plan says."""

    def __init__(self, name: str, agreed: Plan) -> None:
        self.name, self._plan, self._residual = name, agreed, Tensors()
        self.offers: list[bytes] = []

    def train(self, data: bytes) -> bytes:
        got, start = decode(data)
        method = build_method(self._plan)
        seed = 100 * got.round + SITES.index(self.name)
        moved = random_tensors(method.shared_keys(), self._plan, seed)
        tensors = {n: start.get(n, np.zeros(t.shape, np.float32)) + 0.1 * np.abs(t) for n, t in moved.items()}
        reply = PayloadHeader(
            kind="update",
            plan_sha256=self._plan.sha256,
            base_sha256=self._plan.base_sha256,
            site=self.name,
            federation_round=got.federation_round,
            round=got.round,
            method=got.method,
            examples=1,
            parent_sha256=hashlib.sha256(data).hexdigest(),
        )
        sent, self._residual = encode_update(
            reply, tensors, self._plan, start=start, residual=self._residual, exact=exact_of(method)
        )
        return sent

    def offer(self, data: bytes) -> Mapping[str, Any]:
        self.offers.append(data)
        return {}


@pytest.mark.parametrize("base", ["sam", "unet"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_gives_nearly_the_same_with_every_encoding(method: str, base: str) -> None:
    last: dict[str, Tensors] = {}
    settings = {"lora_average": "factors"}  # products are only determined up to a rotation
    for encoding in ("float32", "float16", "int8"):
        agreed = method_plan(method, base, **settings).model_copy(update={"encoding": encoding})
        members = [Member(name, agreed) for name in SITES]
        list(simulate(agreed, members, 3, start=start_payload(agreed)))
        last[encoding] = decode(members[1].offers[-1])[1]
    for encoding in ("float16", "int8"):
        for name, tensor in last[encoding].items():
            np.testing.assert_allclose(tensor, last["float32"][name], atol=0.02, err_msg=f"{encoding} {name}")
            if name.startswith(SECOND_MOMENT):
                np.testing.assert_allclose(tensor, last["float32"][name], rtol=1e-6)
