"""What a plan with differential privacy does to a site's update: clipped, and noise added, before it is encoded."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from fed_backend.defences import PrivacySpec
from fed_backend.payload import Tensors
from fed_backend.privacy import KEY_BYTES, released
from monailabel_app.federation.halves.base import Score, SiteHalf, Work
from monailabel_app.imaging.volume import Volume

__all__ = ["Protected"]


class Protected:
    """Another half whose shared tensors are protected; what stays at the site is left as it is.

    Args:
        half: trains.
        spec: how to protect.
        shared: names of the tensors that leave the site.
    """

    def __init__(self, half: SiteHalf, spec: PrivacySpec, shared: frozenset[str]) -> None:
        self.steps = half.steps
        self._half, self._spec, self._shared = half, spec, shared

    def beginning(self, base: Tensors) -> Tensors:
        return self._half.beginning(base)

    def train(self, work: Work, start: Tensors) -> Tensors:
        tensors = self._half.train(work, start)
        names = sorted(self._shared)
        before, after = ({name: side[name] for name in names} for side in (start, tensors))
        return {**tensors, **released(after, before, self._spec, secrets.token_bytes(KEY_BYTES))}

    def version(self, tensors: Tensors, cases: Mapping[str, Volume], score: Score) -> Tensors:
        return self._half.version(tensors, cases, score)
