"""FedSCA (arXiv 2503.15390): low-level adapters travel, and every site receives a mix of its own.

From the paper: adapters on a frozen foundation model, partial transmission of the low-level ones,
similarity-guided collaborative aggregation. Choices of ours: which blocks are "low" (the lowest
half of the adapted encoder blocks), and the weights (:mod:`fed_backend.methods.similarity`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fed_backend.errors import PlanError
from fed_backend.lora import pairs
from fed_backend.methods.base import Update
from fed_backend.methods.mixing import checked, mix
from fed_backend.methods.names import block_of
from fed_backend.methods.settings import Settings
from fed_backend.methods.similarity import Memory, cosines, mixing_rows
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = ["FedSCA", "low_level"]

_START = "start/"
_SIMILARITY = "similarity/"


def low_level(names: Sequence[str], share: float) -> frozenset[str]:
    """The tensors of the lowest ``share`` of the encoder blocks.

    Args:
        names: tensors of the adapter.
        share: in 0..1, of the blocks that occur in ``names``, rounded up to whole blocks. 0 is
            local only. 1 is every tensor, those outside the encoder included; below 1 they stay.

    Raises:
        PlanError: no name tells its block.
    """
    if share == 1:
        return frozenset(names)
    blocks = sorted({block for name in names if (block := block_of(name)) is not None})
    if not blocks:
        raise PlanError(
            "method 'fedsca' finds no encoder block in the names of the plan's adapter",
            "adapt the encoder (LoRA pairs of 'sam', levels of 'unet'), or choose the method 'fedavg'",
        )
    sent = set(blocks[: math.ceil(share * len(blocks) - 1e-9)])
    return frozenset(name for name in names if block_of(name) in sent)


class FedSCA:
    """Mixes the low-level tensors for each site by its similarity to the others.

    Settings:
        share: of the adapted encoder blocks that travel, from the lowest; 0.5.
        tau: temperature of the similarity, 0.1.
        keep: of the smoothed similarity at every round, 0.5; 0 uses this round's alone.
        floor: whether a site keeps at least 1/K of its own, true.
        lora_average: as in FedAvg; also decides whether pairs are compared as products.
    """

    name = "fedsca"
    defences = ("clip", "max_change")
    """What a plan's robust aggregation may ask of it."""

    def __init__(self, plan: Plan) -> None:
        settings = Settings(plan, "share", "tau", "keep", "floor", "lora_average")
        keys = low_level(list(plan.adapter), settings.number("share", 0.5, low=0, high=1))
        self._tau = settings.number("tau", 0.1, low=1e-6)
        self._keep = settings.number("keep", 0.5, low=0, high=1)
        self._floor = settings.flag("floor", True)
        self._products = settings.products()
        self._shapes = {name: shape for name, shape in plan.adapter.items() if name in keys}
        self._start: Tensors = {}
        self._memory = Memory.empty()

    def shared_keys(self) -> frozenset[str]:
        return frozenset(self._shapes)

    def start_keys(self) -> frozenset[str]:
        """LoRA pairs that are compared as products start at zero and need not be told."""
        paired = {name for pair in pairs(list(self._shapes)) for name in pair} if self._products else set()
        return frozenset(self._shapes.keys() - paired)

    def begin(self, start: Tensors) -> None:
        self._start = self._checked_start(start)
        self._memory = Memory.empty()

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        updates = checked(updates, self._shapes)
        if not self._shapes:
            return {update.site: {} for update in updates}
        if missing := sorted(self.start_keys() - self._start.keys()):
            raise ValueError(f"method 'fedsca' was not told the start of {missing[0]!r} ({len(missing)} such)")
        sites = [update.site for update in updates]
        fresh = cosines([update.tensors for update in updates], self._start, products=self._products)
        memory = self._memory.updated(sites, fresh, self._keep)
        examples = [update.examples for update in updates]
        rows = mixing_rows(memory.among(sites), examples, self._tau, floor=self._floor)
        mixed = mix(updates, rows, products=self._products)
        self._memory = memory
        return mixed

    def state(self) -> Tensors:
        """``start/<tensor>``, and ``similarity/<site>``: that site's row, sites in sorted order."""
        rows = zip(self._memory.sites, self._memory.matrix, strict=True)
        return {
            **{_START + name: tensor.copy() for name, tensor in self._start.items()},
            **{_SIMILARITY + site: row.astype(np.float32) for site, row in rows},
        }

    def restore(self, state: Tensors) -> None:
        start = {n.removeprefix(_START): t for n, t in state.items() if n.startswith(_START)}
        sites = tuple(sorted(n.removeprefix(_SIMILARITY) for n in state if n.startswith(_SIMILARITY)))
        if len(start) + len(sites) != len(state) or any(state[_SIMILARITY + s].shape != (len(sites),) for s in sites):
            raise ValueError("this is no state of method 'fedsca'")
        rows = [state[_SIMILARITY + site].astype(np.float64) for site in sites]
        checked_start = self._checked_start(start) if start else {}
        self._start, self._memory = checked_start, Memory(sites, np.stack(rows) if rows else np.zeros((0, 0)))

    def _checked_start(self, start: Tensors) -> Tensors:
        wanted = self.start_keys()
        if missing := sorted(wanted - start.keys()):
            raise ValueError(f"the start lacks tensor {missing[0]!r}")
        for name in sorted(wanted):
            if start[name].shape != tuple(self._shapes[name]):
                raise ValueError(f"the start of {name!r} has shape {start[name].shape}, not {self._shapes[name]}")
            if not np.isfinite(start[name]).all():
                raise ValueError(f"the start of {name!r} holds NaN or infinity")
        return {name: start[name].astype(np.float32) for name in sorted(wanted)}
