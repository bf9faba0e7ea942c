"""Small plans and payloads for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from fed_backend.payload import PayloadHeader, Tensors
from fed_backend.plan import Plan, parse_plan

SHA = "ab" * 32


def plan(**changes: Any) -> Plan:
    data: dict[str, Any] = {
        "base_sha256": SHA,
        "adapter": {"conv.weight": [2, 3], "block.lora_A": [2, 5], "block.lora_B": [4, 2]},
        "labels": {"tumour": 1},
    }
    return parse_plan({**data, **changes})


def tensors(seed: int, of: Plan) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in of.adapter.items()}


def header(of: Plan, **changes: Any) -> PayloadHeader:
    data: dict[str, Any] = {
        "kind": "update",
        "plan_sha256": of.sha256,
        "base_sha256": of.base_sha256,
        "site": "north",
        "federation_round": "run1",
        "round": 0,
        "method": of.method.name,
        "examples": 4,
    }
    return PayloadHeader(**{**data, **changes})
