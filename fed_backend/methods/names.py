"""Which tensors belong together: shell patterns over names, and the encoder block of a tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

__all__ = ["block_of", "matching"]

_TRANSFORMER = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_UNET = re.compile(r"^model\.((?:1\.submodule\.)*)(?:0|conv|residual)\.")


def matching(names: Iterable[str], patterns: Iterable[str]) -> frozenset[str]:
    """The names that any of the shell patterns (``*.lora_A``) fits, case included."""
    patterns = tuple(patterns)
    return frozenset(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def block_of(name: str) -> int | None:
    """The encoder block that a tensor adapts, counted from the image; ``None`` outside the encoder.

    SAM: the number after ``blocks.``. U-Net: the resolution level, 0 at full resolution, the
    bottleneck last; the way up again is not the encoder. MONAI nests a level in ``1.submodule``,
    with ``0`` the way down and ``2`` the way up.
    """
    if found := _TRANSFORMER.search(name):
        return int(found.group(1))
    if found := _UNET.match(name):
        return found.group(1).count("submodule")
    return None
