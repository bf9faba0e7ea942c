"""The hub's end of a secure sum: passes messages between the sites, and takes the masks off the sum.

It holds public keys, sealed boxes and masked updates, and at the end the secrets that the sites
revealed: seeds of the sites in the sum, keys of those that were lost after they had shared them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from cryptography import x509

from fed_backend.errors import PayloadError
from fed_backend.plan import Plan
from fed_backend.secure.fixed_point import Words, length_of
from fed_backend.secure.masks import pair_mask, public_of, self_mask
from fed_backend.secure.roster import Advert, Context, Roster
from fed_backend.secure.shamir import joined
from fed_backend.secure.wire import (
    Adverts,
    Agreement,
    Revealed,
    Sealed,
    Signed,
    Survivors,
    decode_masked,
    parsed,
    to_bytes,
)
from fed_backend.tensor_file import Data, whole

__all__ = ["SecureSum"]


class SecureSum:
    """One sum.

    Args:
        plan: as it reads for the round's method; asks for secure sums.
        context: of the sum.
        shapes: name -> shape of what is summed.
        root: of the federation's authority.
    """

    def __init__(self, plan: Plan, context: Context, shapes: Mapping[str, tuple[int, ...]], root: x509.Certificate):
        assert plan.secure is not None
        self._plan, self._root = plan, root
        self._fewest = max(plan.secure.fewest, plan.quorum)
        self._length = length_of(shapes)
        self._adverts: dict[str, Advert] = {}
        self._boxes: dict[str, dict[str, str]] = {}
        self._roster: Roster | None = None
        self._sharing: set[str] = set()
        self._survivors: list[str] = []
        self._masked_sum: Words = np.zeros(0, np.uint64)
        self._signatures: dict[str, str] = {}
        self._revealed: dict[str, Revealed] = {}
        self.context = context

    @property
    def roster(self) -> Roster:
        """Who takes part, once :meth:`share` was called."""
        if self._roster is None:
            raise ValueError("the sum has no roster yet")
        return self._roster

    @property
    def size(self) -> int:
        """Updates in the sum, once :meth:`agree` was called."""
        return len(self._survivors)

    def needed(self, step: str) -> int:
        """Answers that a step needs."""
        if step == "train":
            return self._fewest
        most = max(self._fewest, self.roster.threshold)
        return most if step in ("shares", "mask") else self.roster.threshold

    def take(self, step: str, site: str, data: bytes) -> None:
        """Take a site's answer to a step.

        Raises:
            PayloadError: it does not fit; the site is then not part of the sum.
        """
        if step == "train":
            advert = parsed(Advert, data, site)
            if advert.site != site:
                raise PayloadError(f"{site!r} sent the keys of {advert.site!r}")
            advert.check(self._root, self.context)
            self._adverts[site] = advert
        elif step == "shares":
            sealed = parsed(Sealed, data, site)
            self._same(sealed.context, site)
            if sealed.boxes.keys() != self.roster.adverts.keys() - {site}:
                raise PayloadError(f"{site!r} sealed shares for other sites than the roster's")
            self._boxes[site] = sealed.boxes
        elif step == "mask":
            decode_masked(data, self._plan, self.context, site, self._length)
        elif step == "agree":
            signed = parsed(Signed, data, site)
            self._same(signed.context, site)
            if not self.roster.adverts[site].wrote(signed.signature, self.roster.view(self._sharing, self._survivors)):
                raise PayloadError(f"{site!r} signed something else than who is in the sum")
            self._signatures[site] = signed.signature
        else:
            revealed = parsed(Revealed, data, site)
            self._same(revealed.context, site)
            lost = self._sharing - set(self._survivors)
            if revealed.seeds.keys() != set(self._survivors) or revealed.keys.keys() != lost:
                raise PayloadError(f"{site!r} revealed other shares than it was asked for")
            self._revealed[site] = revealed

    def share(self, sites: Sequence[str]) -> dict[str, bytes]:
        """Requests for shares, to the sites that sent keys."""
        adverts = [self._adverts[site] for site in sites]
        self._roster = Roster.checked(adverts, self.context, self._root, self._fewest)
        request = to_bytes(Adverts(context=self.context, adverts=tuple(self._roster.adverts.values())))
        return dict.fromkeys(self._roster.adverts, request)

    def mask(self, sites: Sequence[str]) -> dict[str, bytes]:
        """Requests for masked updates, to the sites that shared their secrets."""
        self._sharing = set(sites)
        requests = {}
        for site in sorted(sites):
            boxes = {other: self._boxes[other][site] for other in sorted(sites) if other != site}
            requests[site] = to_bytes(Sealed(context=self.context, boxes=boxes))
        return requests

    def agree(self, masked: Mapping[str, Data]) -> dict[str, bytes]:
        """Requests for signatures, to the sites whose masked updates are given: these are in the sum.

        Args:
            masked: site -> payload that :meth:`take` took; each is read once.
        """
        self._survivors, self._masked_sum = sorted(masked), np.zeros(self._length, np.uint64)
        for site in self._survivors:
            self._masked_sum += decode_masked(whole(masked[site]), self._plan, self.context, site, self._length)
        request = to_bytes(Survivors(context=self.context, sites=tuple(self._survivors)))
        return dict.fromkeys(self._survivors, request)

    def reveal(self) -> dict[str, bytes]:
        """Requests for what takes the masks off, to the sites in the sum."""
        agreement = Agreement(context=self.context, sites=tuple(self._survivors), signatures=self._signatures)
        return dict.fromkeys(self._survivors, to_bytes(agreement))

    def total(self) -> Words:
        """The sum of the updates without masks.

        Raises:
            ValueError: too few revealed, or what they revealed does not belong together.
        """
        roster, total = self.roster, self._masked_sum.copy()
        if len(self._revealed) < roster.threshold:
            raise ValueError(f"{len(self._revealed)} sites revealed their shares and {roster.threshold} are needed")
        for site in self._survivors:
            seed = self._secret({by: revealed.seeds[site] for by, revealed in self._revealed.items()})
            total -= self_mask(seed, roster.about, site, self._length)
        for lost in sorted(self._sharing - set(self._survivors)):
            key = self._secret({by: revealed.keys[lost] for by, revealed in self._revealed.items()})
            if public_of(key).hex() != roster.adverts[lost].mask_key:
                raise ValueError(f"the shares of the lost site {lost!r} give another key than it had")
            for site in self._survivors:  # what each added for its pair with the lost one
                public = bytes.fromhex(roster.adverts[site].mask_key)
                total -= pair_mask(key, public, roster.about, site, lost, self._length)
        return total

    def _secret(self, shares: Mapping[str, str]) -> bytes:
        chosen = sorted(shares)[: self.roster.threshold]
        return joined({self.roster.number(site): bytes.fromhex(shares[site]) for site in chosen})

    def _same(self, asked: Context, site: str) -> None:
        if asked != self.context:
            raise PayloadError(f"{site!r} answered another secure sum")
