"""Averaging LoRA pairs: as products, factor by factor, and with one A at all sites."""

from __future__ import annotations

import golden
import numpy as np
from federations import SITES, effective, method_plan, started, updates

from fed_backend.methods.base import Update
from fed_backend.methods.mixing import weighted_mean

STEM = "image_encoder.blocks.2.attn.qkv.lora_"


def products(sent: list[Update]) -> list[np.ndarray]:
    return [u.tensors[STEM + "B"].astype(np.float64) @ u.tensors[STEM + "A"] for u in sent]


def test_with_one_frozen_a_both_averages_are_exact() -> None:
    sent = updates(method_plan("fedavg"))
    for update in sent:
        update.tensors[STEM + "A"] = sent[0].tensors[STEM + "A"]
    want = golden.mean(products(sent), [u.examples for u in sent])
    for average in ("products", "factors"):
        got = started(method_plan("fedavg", lora_average=average)).aggregate(sent)["west"]
        np.testing.assert_allclose(effective(got)[STEM + "A product"], want, atol=1e-5)
    np.testing.assert_allclose(got[STEM + "A"], sent[0].tensors[STEM + "A"], atol=1e-6)


def test_with_different_a_only_products_are_the_best_fit() -> None:
    sent = updates(method_plan("fedavg"))
    mean = golden.mean(products(sent), [u.examples for u in sent])
    errors = {}
    for average in ("products", "factors"):
        got = started(method_plan("fedavg", lora_average=average)).aggregate(sent)["west"]
        errors[average] = np.linalg.norm(effective(got)[STEM + "A product"] - mean)
    assert errors["products"] < 0.7 * errors["factors"]
    np.testing.assert_allclose(errors["products"], np.linalg.norm(golden.best_rank(mean, 2) - mean), rtol=1e-5)


def test_sums_run_in_float64() -> None:
    count = 4096
    sent = [Update(f"site{k:04}", {"w": np.asarray([1.0 + 1e-7 * (k % 2)], np.float32)}, 1) for k in range(count)]
    got = weighted_mean(sent, [1 / count] * count)["w"][0]
    want = np.mean([float(u.tensors["w"][0]) for u in sent])
    assert abs(float(got) - want) <= np.spacing(np.float32(1)) / 2
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 5000)).astype(np.float32)
    mean = weighted_mean([Update(str(k), {"w": v}, 1) for k, v in enumerate(values)], [0.1, 0.2, 0.7])["w"]
    wide = 0.1 * values[0].astype(np.float64) + 0.2 * values[1].astype(np.float64) + 0.7 * values[2].astype(np.float64)
    np.testing.assert_array_equal(mean, wide.astype(np.float32))


def test_all_sites_share_one_average() -> None:
    got = started(method_plan("fedavg")).aggregate(updates(method_plan("fedavg")))
    assert all(got[site] is got[SITES[0]] for site in SITES)
