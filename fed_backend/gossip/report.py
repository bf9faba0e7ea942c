"""A run of exchanges in the words of ``GET /federation/rounds/{id}``: one exchange is one round of the run."""

from __future__ import annotations

from typing import Any

from fed_backend.gossip.exchange import Outcome

__all__ = ["RunReport"]

_MOST_HISTORY = 200
_SHOWN = {"sending": "waiting", "waiting": "waiting", "learning": "training"}


class RunReport:
    """What the site is told about a run.

    Args:
        run: its identifier.
        site: this site, which began it.
        method: of the plan.
        exchanges: how many were asked for.
    """

    def __init__(self, run: str, site: str, method: str, exchanges: int) -> None:
        self.run = run
        self._site = site
        self._facts = {"id": run, "started_by": site, "method": method, "rounds": exchanges}
        self._done = 0
        self._sites: dict[str, dict[str, Any]] = {}
        self._history: list[dict[str, Any]] = []
        self._last = ""
        self._arrived = 0

    def begun(self, receiver: str, stage: str = "sending") -> dict[str, Any]:
        """An exchange is at work."""
        own = "sending" if stage == "sending" else "waiting"
        self._sites = {self._site: {"state": own}, receiver: {"state": _SHOWN[stage]}}
        return self._now("running")

    def ended(self, receiver: str, outcome: Outcome, seconds: float) -> dict[str, Any]:
        """An exchange is over; ``receiver`` is empty where there was none to choose."""
        entry = {
            "state": "aggregated" if outcome.arrived else "failed",
            "reason": outcome.reason[:2000],
            "dice": outcome.report.get("dice_challenger"),
            "promoted": outcome.report.get("promoted"),
            "bytes_down": outcome.bytes_sent,
            "seconds": round(seconds, 3),
        }
        who = receiver or self._site
        self._sites = {self._site: {"state": "waiting", "bytes_up": outcome.bytes_sent}, who: entry}
        self._history.append(
            {
                "round": self._done,
                "seconds": round(seconds, 3),
                "bytes_up": outcome.bytes_sent,
                "bytes_down": 0,
                "dice": {who: entry["dice"]},
                "sites": {who: entry},
            }
        )
        self._history = self._history[-_MOST_HISTORY:]
        self._done += 1
        self._arrived += outcome.arrived
        self._last = "" if outcome.arrived else outcome.reason
        return self._now("running")

    def finished(self, stopped: bool = False) -> dict[str, Any]:
        """The run is over: it failed only if no visit arrived at all."""
        if stopped:
            return self._now("stopped", "stopped at this site")
        return self._now("finished") if self._arrived else self._now("failed", self._last)

    def _now(self, state: str, reason: str = "") -> dict[str, Any]:
        return {
            **self._facts,
            "state": state,
            "round": max(0, self._done - (state != "running")),
            "reason": reason[:2000],
            "sites": self._sites,
            "history": self._history,
        }
