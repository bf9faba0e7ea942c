"""What a federated method is: what leaves a site, and what is done with what the sites sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fed_backend.payload import Tensors

__all__ = ["Method", "Update"]


@dataclass(frozen=True)
class Update:
    """One site's contribution to a round.

    Attributes:
        site: name of the sender.
        tensors: the shared tensors after local training, float32.
        examples: training cases behind them (n_k), >= 0.
    """

    site: str
    tensors: Tensors
    examples: int


class Method(Protocol):
    """The server half of a federated method. Implementations are pure: no clock, no files."""

    name: str

    def shared_keys(self) -> frozenset[str]:
        """Names of the tensors that leave a site."""
        ...

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        """Combine the updates of one round.

        Args:
            updates: at least one, each with all shared tensors; the order does not matter.

        Returns:
            For each sender, the tensors it is offered.

        Raises:
            ValueError: no update, two from one site, or tensors that do not match.
        """
        ...
