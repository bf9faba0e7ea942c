"""Small federations for every method, on names that SAM and the U-Net really have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from builders import plan

from fed_backend.lora import pairs
from fed_backend.methods import GOSSIP, METHODS, Method, StatefulMethod, Update
from fed_backend.methods.fedsm import SECOND_MOMENT, SELECTOR_STEPS, fedsm_layout
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

SITES = ("east", "north", "south", "west")

SAM = {
    "image_encoder.blocks.2.attn.qkv.lora_A": (2, 5),
    "image_encoder.blocks.2.attn.qkv.lora_B": (6, 2),
    "image_encoder.blocks.10.attn.qkv.lora_A": (2, 5),
    "image_encoder.blocks.10.attn.qkv.lora_B": (6, 2),
    "mask_decoder.transformer.layers.0.norm1.weight": (4,),
    "mask_decoder.mask_tokens.weight": (3, 4),
}
UNET = {
    "model.0.conv.unit0.conv.weight": (2, 1, 3, 3),
    "model.0.conv.unit0.adn.N.weight": (2,),
    "model.1.submodule.0.conv.unit0.conv.weight": (3, 2, 3, 3),
    "model.1.submodule.1.submodule.conv.unit0.conv.weight": (4, 3, 3, 3),
    "model.1.submodule.1.submodule.residual.bias": (4,),
    "model.1.submodule.2.0.conv.weight": (5, 2, 3, 3),
    "model.2.0.conv.weight": (2, 2, 3, 3),
}
SELECTOR = {"convs.0.weight": (2, 1, 3, 3), "head.weight": (len(SITES), 2), "head.bias": (len(SITES),)}
VIT_B = {
    f"image_encoder.blocks.{block}.attn.{part}.lora_{half}": shape
    for block in range(12)
    for part, width in (("qkv", 2304), ("proj", 768))
    for half, shape in (("A", (4, 768)), ("B", (width, 4)))
}
"""All LoRA pairs of SAM ViT-B at rank 4."""
MODELS: dict[str, dict[str, Any]] = {"sam": {"name": "sam", "base": "sam_tiny"}, "unet": {}}

PAIRS = [(method, base) for method in sorted({**METHODS, **GOSSIP}) for base in ("sam", "unet")]


def method_plan(method: str, base: str = "sam", **settings: Any) -> Plan:
    """A plan for a method on a base, with what the method needs to be built."""
    adapter = {"sam": SAM, "unet": UNET}[base]
    if method == "fedsm":
        adapter = fedsm_layout(adapter, SELECTOR)
        settings = {"sites": ",".join(SITES), **settings}
    training = {"proximal": 0.01} if method == "fedprox" else {}
    chosen = {"name": method, "settings": settings}
    return plan(method=chosen, model=MODELS[base], adapter=adapter, training=training)


class Ring:
    """Peers as the suite sees a method: each site lets the next one visit, and is offered the mean of both.

    What a hub does for everybody, every peer does for itself; the ring is closed in order of names.
    """

    def __init__(self, of: Plan) -> None:
        self._method = GOSSIP[of.method.name](of)
        self.name = self._method.name
        self.shared_keys = self._method.shared_keys

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        ring = sorted(updates, key=lambda update: update.site)
        if len(ring) == 1:
            return {ring[0].site: ring[0].tensors}
        pairs_ = zip(ring, ring[1:] + ring[:1], strict=True)
        return {own.site: self._method.candidates(own, visitor)["mean"] for own, visitor in pairs_}


def made(of: Plan) -> Method:
    """The method of a plan, as a hub, or a ring of peers, has it."""
    return Ring(of) if of.method.name in GOSSIP else METHODS[of.method.name](of)


def started(of: Plan) -> Method:
    """The method of a plan, told where all sites start."""
    method = made(of)
    if isinstance(method, StatefulMethod):
        method.begin(random_tensors(method.start_keys(), of, 99))
    return method


def random_tensors(keys: frozenset[str], of: Plan, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    tensors = {name: rng.standard_normal(of.adapter[name]).astype(np.float32) for name in sorted(keys)}
    for name in tensors:
        if name.startswith((SECOND_MOMENT, SELECTOR_STEPS)):
            tensors[name] = np.abs(tensors[name])
    return tensors


def updates(of: Plan, sites: tuple[str, ...] = SITES, seed: int = 0) -> list[Update]:
    """One random update per site, with 1, 2, 3, ... examples."""
    keys = made(of).shared_keys()
    return [Update(s, random_tensors(keys, of, 1000 * seed + SITES.index(s)), 1 + SITES.index(s)) for s in sites]


def effective(tensors: Tensors) -> dict[str, np.ndarray]:
    """What the network sees: products of LoRA pairs, and all other tensors, in float64."""
    wide = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    for a, b in pairs(list(wide)):
        wide[f"{a} product"] = wide.pop(b) @ wide.pop(a)
    return wide


def assert_same(one: Tensors, other: Tensors, tolerance: float = 1e-5) -> None:
    seen, wanted = effective(one), effective(other)
    assert seen.keys() == wanted.keys()
    for name in seen:
        np.testing.assert_allclose(seen[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name)
