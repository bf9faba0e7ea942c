"""What features depend on, and nothing else: equal keys mean equal features."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FeatureKey", "adapter_digest"]

_BLOCK = re.compile(r"^image_encoder\.blocks\.(\d+)\.")
_ENCODER = "image_encoder."


@dataclass(frozen=True)
class FeatureKey:
    """Names the features of one slice at one layer.

    Attributes:
        image: sha256 over voxels and geometry.
        axis: volume axis (0 = i, 1 = j, 2 = k) across which the slice is taken.
        index: voxel index of the slice along that axis.
        window: the intensity curve, as text.
        base: sha256 of the frozen base and its input size.
        layer: ``block-N`` (input of encoder block N) or ``neck`` (the encoder's output).
        adapter: digest of the adapter tensors below that layer; empty where there are none.
        numeric: how it was computed, e.g. ``float32`` or ``bfloat16``.
    """

    image: str
    axis: int
    index: int
    window: str
    base: str
    layer: str
    adapter: str
    numeric: str

    @property
    def digest(self) -> str:
        """Hex sha256 over all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def adapter_digest(tensors: Mapping[str, npt.NDArray[Any]], below: int | None = None) -> str:
    """Hex sha256 over the adapter tensors that the encoder's features depend on; empty for none.

    Args:
        tensors: adapter tensors by canonical name; those of the mask decoder and the default
            prompts do not count, features do not depend on them.
        below: count only the blocks below this one; ``None`` counts the whole encoder.
    """
    total, seen = hashlib.sha256(), False
    for name in sorted(tensors):
        if not name.startswith(_ENCODER):
            continue
        found = _BLOCK.match(name)
        inside = int(found.group(1)) < below if found and below is not None else below is None or not found
        if inside:
            value = np.ascontiguousarray(tensors[name], dtype=np.float32)
            total.update(f"{name}{value.shape}".encode())
            total.update(value.data)
            seen = True
    return total.hexdigest() if seen else ""
