"""Noise on updates: what it is made of, and what a plan may ask for."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
from builders import header, plan, tensors

from fed_backend.defences import PrivacySpec
from fed_backend.errors import PlanError
from fed_backend.methods import build_method, check_methods
from fed_backend.methods.robust import change
from fed_backend.payload import Tensors, encode_update, read_header
from fed_backend.privacy import KEY_BYTES, gaussian, released

KEY = bytes(range(KEY_BYTES))


def test_the_noise_is_standard_normal() -> None:
    numbers = np.sort(gaussian(200_001, KEY))
    assert len(numbers) == 200_001
    shares = np.array([0.001, 0.0228, 0.1587, 0.5, 0.8413, 0.9772, 0.999])
    limits = np.array([-3.09, -2, -1, 0, 1, 2, 3.09])
    np.testing.assert_allclose(np.searchsorted(numbers, limits) / len(numbers), shares, atol=0.004)
    assert abs(np.corrcoef(gaussian(10_000, KEY)[:5000], gaussian(10_000, KEY)[5000:])[0, 1]) < 0.05


def test_noise_depends_on_the_key_alone() -> None:
    np.testing.assert_array_equal(gaussian(7, KEY), gaussian(7, KEY))
    assert not np.intersect1d(gaussian(100, KEY), gaussian(100, secrets.token_bytes(KEY_BYTES))).size
    assert gaussian(0, KEY).shape == (0,)


def test_an_update_is_clipped_before_the_noise_and_the_noise_has_the_promised_size() -> None:
    start: Tensors = {"w": np.zeros(40_000, np.float32), "v": np.ones((2, 3), np.float32)}
    far = {name: tensor + np.float32(100) for name, tensor in start.items()}
    spec = PrivacySpec(clip=3, noise=0.5)
    noise = released(start, start, spec, KEY)
    assert np.std(noise["w"]) == pytest.approx(spec.deviation, rel=0.02)
    protected = released(far, start, spec, KEY)
    moved = {name: protected[name] - noise[name] for name in start}
    assert change(moved, {name: np.zeros_like(t) for name, t in start.items()}) == pytest.approx(3, rel=1e-3)
    assert {n: (t.shape, t.dtype) for n, t in protected.items()} == {n: (t.shape, t.dtype) for n, t in start.items()}


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8"])
def test_a_protected_update_says_nothing_about_the_training(encoding: str) -> None:
    of = plan(privacy={"clip": 1, "noise": 1}, encoding=encoding)
    told = header(of, examples=37, metrics={"loss": 0.25})
    data, _ = encode_update(told, tensors(1, of), of, start=tensors(2, of), residual={}, exact=())
    found = read_header(data)
    assert (found.examples, found.metrics) == (1, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy": {"clip": 1, "noise": 1e6}}, "too much for max_update_norm"),
        ({"privacy": {"clip": 1, "noise": 1}, "robust": {"clip": 1}}, r"too much for robust\.clip"),
        ({"privacy": {"clip": 0, "noise": 1}}, "clip"),
        ({"privacy": {"clip": 1, "noise": 1, "delta": 1}}, "delta"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan(**changes)


def test_methods_that_bear_no_noise_are_refused() -> None:
    from fed_backend.methods.fedsm import fedsm_layout

    asked = {"clip": 1, "noise": 0.1}
    shapes = fedsm_layout({"w": (2,)}, {"head.bias": (2,)})
    with pytest.raises(PlanError, match="'fedsm' bears no noise"):
        build_method(plan(method={"name": "fedsm", "settings": {"sites": "a,b"}}, adapter=shapes, privacy=asked))
    with pytest.raises(PlanError, match="sends whole models, without noise"):
        check_methods(plan(method={"name": "gcml"}, privacy=asked))


def test_a_plan_without_it_keeps_its_hash() -> None:
    assert "privacy" not in plan().as_json()
