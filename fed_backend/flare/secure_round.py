"""The exchanges of a round under a plan with secure sums, as the coordinator goes from one to the next.

::

    train --> shares --> mask --> agree --> reveal --> the aggregate

A site that fails before ``agree`` is left out of the sum; from there on the sum is what was agreed on. A hub
that restarts begins the round again, with new keys: sites answer the same training with the same update.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from cryptography import x509

from fed_backend.errors import FederationError
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.round_payloads import Combined
from fed_backend.plan import Plan
from fed_backend.secure.hub import SecureSum
from fed_backend.secure.roster import Context
from fed_backend.tensor_file import Data, digest, whole

__all__ = ["SecureRound"]


class SecureRound:
    """One attempt at one round.

    Args:
        plan: the federation's plan.
        aggregator: of the round's method.
        root: of the federation's authority.
        run: identifier of the run.
        round_: from 0.
        attempt: from 1.
        begun: site -> payload that its training starts from; the same for all.

    Raises:
        FederationError: the sites start from different payloads.
    """

    def __init__(
        self,
        plan: Plan,
        aggregator: Aggregator,
        root: x509.Certificate,
        run: str,
        round_: int,
        attempt: int,
        begun: Mapping[str, Data],
    ) -> None:
        starts = {digest(data) for data in set(begun.values())}
        if len(starts) > 1:
            raise FederationError("the sites of a secure sum would start from different tensors", "start a new run")
        under = plan.under(aggregator.name)
        context = Context(
            plan_sha256=under.sha256, run=run, round=round_, attempt=attempt, start_sha256=next(iter(starts), "0" * 64)
        )
        self._aggregator = aggregator
        self._sum = SecureSum(under, context, aggregator.shapes, root)

    @property
    def attempt(self) -> int:
        """Of this round."""
        return self._sum.context.attempt

    def needed(self, topic: str) -> int:
        """Answers that an exchange needs."""
        return self._sum.needed(topic)

    def enough(self, topic: str, answered: Collection[str]) -> bool:
        """Whether an exchange may end before everybody has answered: any so many shares do."""
        return topic in ("agree", "reveal") and len(answered) >= self.needed(topic)

    def take(self, topic: str, site: str, data: Data) -> None:
        """Take an answer.

        Raises:
            PayloadError: it does not fit.
        """
        self._sum.take(topic, site, whole(data))

    def after(
        self, topic: str, answered: Collection[str], masked: Mapping[str, Data]
    ) -> tuple[str, Mapping[str, bytes]] | None:
        """The exchange that follows ``topic``: its own, and what to send to whom; ``None`` after the last.

        Args:
            topic: the exchange that is over.
            answered: the sites that answered it.
            masked: site -> masked update, of sites that are still members.

        Raises:
            FedSegError: the sum cannot go on.
        """
        if topic == "train":
            return "shares", self._sum.share(sorted(answered))
        if topic == "shares":
            return "mask", self._sum.mask(sorted(answered))
        if topic == "mask":
            return "agree", self._sum.agree(masked)
        return ("reveal", self._sum.reveal()) if topic == "agree" else None

    def combined(self, sites: Collection[str], folder: Path) -> Combined:
        """What the sum comes to, for ``sites``.

        Raises:
            ValueError: it is no sum of updates.
        """
        context = self._sum.context
        return self._aggregator.from_sum(context.run, context.round, self._sum.total(), sites, self._sum.size, folder)
