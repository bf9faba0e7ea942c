"""Gossip in one process: who sends to whom is drawn as every real site would draw it for itself.

Payloads are those that peers exchange, checked by the receiver. Transfers can fail and sites can
vanish; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fed_backend.errors import FedSegError
from fed_backend.methods.gcml import GCML, choose_peer, generator, is_sender, sender_probabilities
from fed_backend.plan import Plan

__all__ = ["Exchanged", "SimulatedPeer", "simulate_gossip"]


class SimulatedPeer(Protocol):
    """A site as its peers see it."""

    name: str
    examples: int

    def lend(self, number: int) -> bytes:
        """The site's model as a payload of kind ``update``, for exchange ``number``."""
        ...

    def visit(self, data: bytes) -> Mapping[str, Any]:
        """Let a visiting model in; the report of what became of it.

        Raises:
            FedSegError: the visitor is refused.
        """
        ...


@dataclass(frozen=True)
class Exchanged:
    """One exchange.

    Attributes:
        number: from 0.
        transfers: (sender, receiver) of every transfer that arrived, in order.
        dropped: (sender, receiver) of those that did not.
        size: bytes sent by each site, lost transfers included.
        reports: receiver -> what it answered last.
    """

    number: int
    transfers: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    size: dict[str, int] = field(default_factory=dict)
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def simulate_gossip(
    plan: Plan,
    peers: Sequence[SimulatedPeer],
    exchanges: int,
    *,
    seed: int = 0,
    living: Callable[[str, int], bool] = lambda site, number: True,
    arrives: Callable[[str, str, int], bool] = lambda sender, receiver, number: True,
) -> Iterator[Exchanged]:
    """Run exchanges; yields after each.

    Args:
        plan: a plan of method ``gcml``.
        peers: the sites; their order does not matter.
        exchanges: how many.
        seed: of all draws.
        living: whether a site takes part in an exchange.
        arrives: whether a transfer from one site to another gets through.

    Raises:
        PlanError: settings of the method that do not fit.
    """
    settings = GCML(plan).settings
    members = {peer.name: peer for peer in sorted(peers, key=lambda peer: peer.name)}
    chances = sender_probabilities({name: peer.examples for name, peer in members.items()}, settings.share)
    for number in range(exchanges):
        done = Exchanged(number)
        lent: list[tuple[str, str, bytes]] = []
        for name, peer in members.items():  # all lend what they hold before anybody learns
            rng = generator(seed, name, number)
            if not living(name, number) or not is_sender(rng, chances[name]):
                continue
            receiver = choose_peer(rng, name, members)
            if receiver is not None:
                data = peer.lend(number)
                done.size[name] = len(data)
                lent.append((name, receiver, data))
        for name, receiver, data in lent:
            if not living(receiver, number) or not arrives(name, receiver, number):
                done.dropped.append((name, receiver))
                continue
            try:
                done.reports[receiver] = members[receiver].visit(data)
                done.transfers.append((name, receiver))
            except FedSegError:
                done.dropped.append((name, receiver))
        yield done
