"""The calls about a site's learning, versions and federation: seen from the side of whoever watches over them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from .cancel import CancelSwitch
from .errors import NotFound
from .fields import Fields, parse_object
from .language import tr as _
from .plans import PlanDetails, plan_details
from .progress import Federation, Learning, Round, federation, learning, round_id, round_status
from .transport import Transport
from .versions import Statistics, Version, statistics, versions

_INFER_SECONDS = 300.0
_TRANSFER_SECONDS = 120.0
_ROUND_SECONDS = 30.0


@dataclass(frozen=True)
class Timeouts:
    """Seconds the site may stay silent, by kind of call; tests shorten them."""

    quick: float = 15.0
    infer: float = _INFER_SECONDS
    transfer: float = _TRANSFER_SECONDS
    round: float = _ROUND_SECONDS


class OversightCalls:
    """Learning, versions and federation of a site.

    Args:
        transport: requests to the site. timeouts: how long it may stay silent.
    """

    def __init__(self, transport: Transport, timeouts: Timeouts | None = None) -> None:
        self._transport = transport
        self._timeouts = timeouts or Timeouts()

    def versions(self, cancel: CancelSwitch | None = None) -> tuple[Version, ...]:
        """``GET /versions``, newest first."""
        return versions(self._quick("GET", "/versions", cancel=cancel))

    def statistics(self, cancel: CancelSwitch | None = None) -> Statistics:
        """``GET /statistics``."""
        return statistics(self._quick("GET", "/statistics", cancel=cancel))

    def promote(self, version: str, reason: str, cancel: CancelSwitch | None = None) -> str:
        """``POST /versions/{id}/promote``; returns the gate's objection, "" without one."""
        body = self._quick("POST", f"/versions/{quote(version, safe='')}/promote", {"reason": reason}, cancel)
        return Fields(parse_object(body, _("the promotion")), _("the promotion")).maybe_text("warning") or ""

    def roll_back(self, version: str, reason: str, cancel: CancelSwitch | None = None) -> str:
        """``POST /versions/{id}/rollback``; returns which version serves now, in words."""
        body = self._quick("POST", f"/versions/{quote(version, safe='')}/rollback", {"reason": reason}, cancel)
        return _("{text} serves again.").format(
            text=Fields(parse_object(body, "the rollback"), "the rollback").text("champion")
        )

    def learning(self, cancel: CancelSwitch | None = None) -> Learning:
        """``GET /learning``."""
        return learning(self._quick("GET", "/learning", cancel=cancel))

    def start_learning(self, model: str | None = None, cancel: CancelSwitch | None = None) -> Learning:
        """``POST /learning``; Busy when there is nothing to learn from."""
        body: dict[str, object] = {"model": model} if model else {}
        return learning(self._quick("POST", "/learning", body, cancel))

    def stop_learning(self, cancel: CancelSwitch | None = None) -> None:
        """``DELETE /learning``."""
        self._quick("DELETE", "/learning", cancel=cancel)

    def federation(self, cancel: CancelSwitch | None = None) -> Federation:
        """``GET /federation``."""
        return federation(self._quick("GET", "/federation", cancel=cancel))

    def plan(self, cancel: CancelSwitch | None = None) -> PlanDetails | None:
        """``GET /federation/plan``; None from a site that does not tell."""
        try:
            return plan_details(self._quick("GET", "/federation/plan", cancel=cancel))
        except NotFound:
            return None

    def pause(self, paused: bool, cancel: CancelSwitch | None = None) -> None:
        """``POST /federation/pause``."""
        self._quick("POST", "/federation/pause", {"paused": paused}, cancel)

    def approve_plan(self, sha256: str, approved: bool, cancel: CancelSwitch | None = None) -> None:
        """``POST /federation/plan``: agree to the plan with this hash, or leave the federation."""
        self._quick("POST", "/federation/plan", {"sha256": sha256, "approved": approved}, cancel)

    def start_round(
        self, rounds: int | None = None, method: str | None = None, cancel: CancelSwitch | None = None
    ) -> str:
        """``POST /federation/rounds``: ask the hub for a run; returns its id.

        Raises:
            Busy: one runs already. NotAllowed: not this person or site. ServerFault: no courier is connected.
        """
        body: dict[str, object] = {} if rounds is None else {"rounds": rounds}
        if method is not None:
            body["method"] = method
        reply = self._transport.request(
            "POST", "/federation/rounds", json_body=body, wait=self._timeouts.round, cancel=cancel
        )
        return round_id(reply.body)

    def round(self, run: str, cancel: CancelSwitch | None = None) -> Round:
        """``GET /federation/rounds/{id}``."""
        return round_status(self._quick("GET", f"/federation/rounds/{quote(run, safe='')}", cancel=cancel))

    def stop_round(self, run: str, cancel: CancelSwitch | None = None) -> None:
        """``DELETE /federation/rounds/{id}``."""
        self._quick("DELETE", f"/federation/rounds/{quote(run, safe='')}", cancel=cancel)

    def _quick(
        self,
        method: str,
        path: str,
        body: dict[str, object] | None = None,
        cancel: CancelSwitch | None = None,
    ) -> bytes:
        return self._transport.request(method, path, json_body=body, wait=self._timeouts.quick, cancel=cancel).body
