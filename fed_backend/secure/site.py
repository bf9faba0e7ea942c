"""A site's end of a secure sum; lives in its courier, which the hospital runs.

Secrets are drawn anew for every sum and are in memory only: a courier that restarts has nothing to
give for the sum before. Each step is answered once; the same request is answered with the same
bytes. What leaves is told to the site first, whose audit log keeps it, and which lets a courier
reveal once for a round, restarted or not.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fed_backend.errors import FederationError, PayloadError, ReplayError
from fed_backend.methods import build_method
from fed_backend.payload import Tensors, check, read_header
from fed_backend.plan import Plan
from fed_backend.secure.fixed_point import length_of, words_of
from fed_backend.secure.masks import KEY_BYTES, opened, pair_mask, public_of, sealed, self_mask
from fed_backend.secure.roster import Advert, Context, Identity, Roster
from fed_backend.secure.shamir import SHARE_BYTES, split
from fed_backend.secure.wire import (
    Adverts,
    Agreement,
    Revealed,
    Sealed,
    Signed,
    Survivors,
    encode_masked,
    parsed,
    to_bytes,
)
from fed_backend.tensor_file import Data, digest

__all__ = ["Leaves", "SecureSite"]

Leaves = Callable[[str, Context, Sequence[str], bytes], None]
"""Called before anything leaves: step (``keys`` or one of :data:`~fed_backend.secure.wire.STEPS`), sum, other
sites, bytes."""


@dataclass
class _Sum:
    """One sum: its secrets, what was learned of the others, and what was answered."""

    context: Context
    plan: Plan
    tensors: Tensors
    examples: int
    mask_key: bytes
    seal_key: bytes
    seed: bytes
    advert: Advert
    roster: Roster | None = None
    shares: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    survivors: set[str] = field(default_factory=set)
    answers: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)


class SecureSite:
    """The state of one site.

    Args:
        identity: its name and certificate.
        plan: the plan it holds; one that asks for secure sums.
        leaves: see :data:`Leaves`; what it refuses does not leave.
        draw: random bytes.

    Raises:
        FederationError: the plan asks for none.
    """

    def __init__(
        self, identity: Identity, plan: Plan, leaves: Leaves, draw: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        if plan.secure is None:
            raise FederationError("the plan asks for no secure sums")
        self._fewest = plan.secure.fewest
        self._identity, self._plan, self._leaves, self._draw = identity, plan, leaves, draw
        self._lock = threading.Lock()
        self._sum: _Sum | None = None
        self._steps = {"shares": self._shares, "mask": self._mask, "agree": self._agree, "reveal": self._reveal}

    def begin(self, begun: Data, update: Data, attempt: int) -> bytes:
        """Take what the site trained, and say with which keys it will be masked.

        Args:
            begun: the payload that the hub sent.
            update: the site's answer, which stays here.
            attempt: how often the hub has begun the round.

        Raises:
            PayloadError: the update is not one that this plan's hub may sum.
        """
        asked, mine = read_header(begun), self._identity.site
        plan = self._plan.under(asked.method)
        keys, start = build_method(plan).shared_keys(), digest(begun)
        context = Context(
            plan_sha256=plan.sha256,
            run=asked.federation_round,
            round=asked.round,
            attempt=attempt,
            start_sha256=start,
        )
        with self._lock:
            if self._sum is not None and self._sum.context == context:
                return to_bytes(self._sum.advert)
            header, tensors = check(
                update, plan, kind="update", site=mine, federation_round=context.run, round=context.round, keys=keys
            )
            words_of(tensors, header.examples, self._fewest)  # what cannot be summed is refused now
            mask_key, seal_key, seed = (self._draw(KEY_BYTES) for _ in range(3))
            advert = self._identity.advert(context, public_of(mask_key), public_of(seal_key))
            answer = to_bytes(advert)
            self._leaves("keys", context, (), answer)
            self._sum = _Sum(context, plan, tensors, header.examples, mask_key, seal_key, seed, advert)
            return answer

    def answer(self, step: str, body: bytes) -> bytes:
        """Answer a later step of the sum that began last.

        Raises:
            PayloadError: the request is not what a sum of this plan may ask.
            ReplayError: it is of another sum, or the step was answered to another request.
        """
        with self._lock:
            current = self._sum
            if current is None:
                raise ReplayError(
                    "the hub goes on with a secure sum that this courier knows nothing of",
                    "the courier was restarted meanwhile; it takes part in the next round",
                )
            if step in current.answers:
                request, answer = current.answers[step]
                if request != body:
                    raise ReplayError(f"the step {step!r} of this round was answered already, to another request")
                return answer
            if step not in self._steps:
                raise PayloadError(f"a secure sum has no step {step[:32]!r}")
            answer, others = self._steps[step](current, body)
            self._leaves(step, current.context, others, answer)
            current.answers[step] = (body, answer)
            if step == "mask":
                current.tensors = {}
            if step == "reveal":
                current.shares, current.mask_key, current.seal_key, current.seed = {}, b"", b"", b""
            return answer

    # --- steps -----------------------------------------------------------------------------

    def _shares(self, current: _Sum, body: bytes) -> tuple[bytes, Sequence[str]]:
        asked = parsed(Adverts, body, "hub")
        _same(asked.context, current.context)
        roster = Roster.checked(asked.adverts, current.context, self._identity.root, self._fewest)
        mine = self._identity.site
        if roster.adverts.get(mine) != current.advert:
            raise PayloadError("the roster does not hold this site's own keys", "ask the federation's administrator")
        count = len(roster.adverts)
        keys, seeds = (split(s, count, roster.threshold) for s in (current.mask_key, current.seed))
        shares = {site: keys[roster.number(site)] + seeds[roster.number(site)] for site in roster.adverts}
        boxes = {
            site: sealed(current.seal_key, bytes.fromhex(advert.seal_key), roster.about, mine, site, shares[site]).hex()
            for site, advert in roster.adverts.items()
            if site != mine
        }
        current.roster, current.shares = roster, {mine: _halves(shares[mine])}
        return to_bytes(Sealed(context=current.context, boxes=boxes)), _others(roster.adverts, mine)

    def _mask(self, current: _Sum, body: bytes) -> tuple[bytes, Sequence[str]]:
        asked, roster, mine = parsed(Sealed, body, "hub"), current.roster, self._identity.site
        _same(asked.context, current.context)
        if roster is None:
            raise ReplayError("the hub asks for a masked update before it said who takes part")
        others = sorted(asked.boxes)
        self._enough({*others, mine}, set(roster.adverts), roster)
        if mine in asked.boxes:
            raise PayloadError("the hub sends this site shares of its own", "ask the federation's administrator")
        words = words_of(current.tensors, current.examples, len(roster.adverts))
        words = words + self_mask(current.seed, roster.about, mine, len(words))
        found = {mine: current.shares[mine]}
        for site in others:
            advert = roster.adverts[site]
            seal_key, mask_key = bytes.fromhex(advert.seal_key), bytes.fromhex(advert.mask_key)
            box = bytes.fromhex(asked.boxes[site])
            found[site] = _halves(opened(current.seal_key, seal_key, roster.about, site, mine, box))
            words += pair_mask(current.mask_key, mask_key, roster.about, mine, site, len(words))
        assert len(words) == length_of({name: tensor.shape for name, tensor in current.tensors.items()})
        current.shares = found
        return encode_masked(current.plan, current.context, mine, words), others

    def _agree(self, current: _Sum, body: bytes) -> tuple[bytes, Sequence[str]]:
        asked, roster, mine = parsed(Survivors, body, "hub"), current.roster, self._identity.site
        _same(asked.context, current.context)
        if roster is None or "mask" not in current.answers:
            raise ReplayError("the hub names the sites of a sum before it has this site's masked update")
        survivors = set(asked.sites)
        self._enough(survivors, set(current.shares), roster)
        if mine not in survivors:
            raise PayloadError("the hub asks for a signature of a sum without this site's update", "it is not needed")
        current.survivors = survivors
        signature = self._identity.sign(roster.view(current.shares, survivors))
        return to_bytes(Signed(context=current.context, signature=signature)), _others(survivors, mine)

    def _reveal(self, current: _Sum, body: bytes) -> tuple[bytes, Sequence[str]]:
        asked, roster, survivors = parsed(Agreement, body, "hub"), current.roster, current.survivors
        _same(asked.context, current.context)
        if roster is None or not survivors or set(asked.sites) != survivors:
            raise ReplayError("the hub asks for shares for another sum than the one that this site signed")
        view = roster.view(current.shares, survivors)
        known = ((roster.adverts.get(site), signature) for site, signature in asked.signatures.items())
        agreed = sum(advert is not None and advert.wrote(signature, view) for advert, signature in known)
        if agreed < roster.threshold:
            raise PayloadError(
                f"{agreed} sites signed who is in the sum, and {roster.threshold} must have",
                "ask the federation's administrator why the sites were told different things",
            )
        revealed = Revealed(
            context=current.context,
            seeds={site: current.shares[site][1].hex() for site in sorted(survivors)},
            keys={site: share.hex() for site, (share, _) in sorted(current.shares.items()) if site not in survivors},
        )
        return to_bytes(revealed), _others(survivors, self._identity.site)

    def _enough(self, sites: set[str], known: set[str], roster: Roster) -> None:
        """Refuse a sum of too few, or of somebody unknown."""
        if unknown := sorted(sites - known):
            raise PayloadError(f"{unknown[0][:64]!r} is not in this sum", "ask the federation's administrator")
        if len(sites) < (needed := max(self._fewest, roster.threshold)):
            raise PayloadError(
                f"a sum of {len(sites)} updates is below the {needed} that this site wants",
                "start the round again once more sites are connected",
            )


def _same(asked: Context, current: Context) -> None:
    if asked != current:
        raise ReplayError("the hub goes on with another secure sum than the one that this site began")


def _halves(shares: bytes) -> tuple[bytes, bytes]:
    if len(shares) != 2 * SHARE_BYTES:
        raise PayloadError("a site sealed something else than two shares")
    return shares[:SHARE_BYTES], shares[SHARE_BYTES:]


def _others(sites: Sequence[str] | set[str] | dict[str, Advert], mine: str) -> list[str]:
    return sorted(site for site in sites if site != mine)
