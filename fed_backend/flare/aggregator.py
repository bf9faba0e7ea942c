"""The hub's half of a run's method: payloads in, payloads out, and what is remembered between rounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fed_backend.errors import FederationError, PayloadError
from fed_backend.flare.round_payloads import (
    Combined,
    aggregate_payloads,
    check_update,
    start_front,
    sum_payload,
)
from fed_backend.methods import CheckingMethod, StatefulMethod, build_method
from fed_backend.methods.fedavg import Averaging
from fed_backend.payload import Tensors, decode
from fed_backend.plan import Plan
from fed_backend.secure.fixed_point import Words
from fed_backend.tensor_file import Data, front, whole

__all__ = ["Aggregator"]


class Aggregator:
    """One method of a plan.

    Args:
        plan: the plan that the members agreed on.
        method: which of its methods.
        state: what :meth:`state` gave after the last round of this method; empty before the first.
        start: payload with the tensors that all sites start from, from the hub's kit.

    Attributes:
        name: of the method.

    Raises:
        PlanError: the plan does not list the method, it is not installed, or its settings do not fit.
        FederationError: the method needs a start and the kit holds none that fits, or the state is
            damaged.
    """

    def __init__(self, plan: Plan, method: str, *, state: bytes = b"", start: bytes | None = None) -> None:
        self.name = method
        self._plan = plan.under(method)
        self._method = build_method(self._plan)
        self._begun = _start_of(plan, start)
        self._check_start()
        self.restore(state)

    def _check_start(self) -> None:
        robust = self._plan.robust
        if robust is None or not robust.needs_start:
            return
        for name in sorted(self._method.shared_keys()):
            if name not in self._begun or self._begun[name].shape != self._plan.adapter[name]:
                raise FederationError(
                    f"the plan limits how far an update may change the start, and the hub's kit holds no fitting "
                    f"start of {name!r}",
                    "make the plan again with `fedseg plan create`, which writes the start beside it, then the kits",
                )

    def restore(self, state: bytes) -> None:
        """Go back to a stored state; an empty one is the beginning."""
        if not isinstance(self._method, StatefulMethod):
            return
        try:
            if state:
                self._method.restore({name: np.array(tensor) for name, tensor in load(state).items()})
            else:
                self._method.begin(self._begun)
        except (SafetensorError, ValueError) as error:
            what = "the hub's memory of earlier rounds" if state else "the start that the hub's kit holds"
            raise FederationError(
                f"{what} does not fit method {self.name!r}: {error}",
                "restore the hub's folder from a backup, or make the plan and the kits anew",
            ) from None

    def state(self) -> bytes:
        """What the next round depends on, as a safetensors file; empty for a method without memory."""
        return save(self._method.state()) if isinstance(self._method, StatefulMethod) else b""

    def begin(self, run: str, round_: int, last: Data | None) -> bytes:
        """Where a site begins a round: at the last aggregate for it, or ``None`` at its base adapter."""
        start = self.front(run, round_, last)
        return start if last is None else start + whole(last)[len(front(last)) :]

    def front(self, run: str, round_: int, last: Data | None) -> bytes:
        """What comes before the tensors of :meth:`begin`, which are those of ``last``."""
        return start_front(self._plan, run, round_, last)

    def check(self, data: Data, site: str, run: str, round_: int, begun: Data, sha256: str = "") -> None:
        """Refuse an update that is not what ``site`` was asked for with ``begun``, whose SHA-256 may be known.

        Raises:
            PayloadError: naming the first thing that does not fit.
        """
        keys = self._method.shared_keys()
        update = check_update(data, self._plan, keys, site, run, round_, begun, self._begun, sha256)
        if isinstance(self._method, CheckingMethod):
            try:
                self._method.check(update)
            except ValueError as error:
                raise PayloadError(str(error), "look into the site's log") from None

    def combine(
        self,
        run: str,
        round_: int,
        updates: Mapping[str, Data],
        begun: Mapping[str, Data],
        folder: Path | None = None,
    ) -> Combined:
        """What a round comes to; see :func:`~fed_backend.flare.round_payloads.aggregate_payloads`.

        Raises:
            ValueError: the updates cannot be combined; the memory is then as it was.
        """
        before = self.state()
        try:
            return aggregate_payloads(self._plan, self._method, run, round_, updates, begun, self._begun, folder)
        except BaseException:
            self.restore(before)
            raise

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of what the method shares."""
        return {name: self._plan.adapter[name] for name in sorted(self._method.shared_keys())}

    def from_sum(
        self, run: str, round_: int, total: Words, sites: Collection[str], summed: int, folder: Path
    ) -> Combined:
        """What a secure sum comes to; see :func:`~fed_backend.flare.round_payloads.sum_payload`.

        Raises:
            ValueError: it is no sum of updates.
        """
        assert isinstance(self._method, Averaging)
        return sum_payload(self._plan, self._method, run, round_, total, sites, summed, folder)


def _start_of(plan: Plan, start: bytes | None) -> Tensors:
    if start is None:
        return {}
    header, tensors = decode(start)
    if header.plan_sha256 != plan.sha256:
        raise FederationError(
            "the start in the hub's kit belongs to another plan", "make plan and kits again, in this order"
        )
    return tensors
