"""What a federated method is: what leaves a site, and what is done with what the sites sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fed_backend.payload import Tensors

__all__ = ["CheckingMethod", "Method", "StatefulMethod", "Update"]


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


@runtime_checkable
class CheckingMethod(Method, Protocol):
    """A method that cannot use every update that fits the plan."""

    def check(self, update: Update) -> None:
        """Look at an update as it arrives, so that it fails its sender alone and not the round.

        Raises:
            ValueError: naming the site and what is wrong.
        """
        ...


@runtime_checkable
class StatefulMethod(Method, Protocol):
    """A method whose aggregate depends on earlier rounds.

    Whoever runs it keeps ``state()`` wherever it keeps the aggregate of a round, and gives it to
    ``restore`` before the next round in a new process. A failed ``aggregate`` leaves the state as
    it was. All values survive a float32 file unchanged, so a restart changes no bit of a result.
    """

    def start_keys(self) -> frozenset[str]:
        """Names of the tensors whose common start :meth:`begin` must be told before the first round."""
        ...

    def begin(self, start: Tensors) -> None:
        """Tell the tensors that all sites start from (A^0); forgets earlier rounds.

        Args:
            start: at least the tensors of :meth:`start_keys`; others are ignored.

        Raises:
            ValueError: one is missing, has another shape, or is not finite.
        """
        ...

    def state(self) -> Tensors:
        """Everything that the next round depends on."""
        ...

    def restore(self, state: Tensors) -> None:
        """Replace the state by what :meth:`state` returned earlier.

        Raises:
            ValueError: it is not a state of this method under this plan.
        """
        ...
