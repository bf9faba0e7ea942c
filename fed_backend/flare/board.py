"""What the sites are shown of a run: the state of each, broadcast no faster than anybody can read."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fed_backend.flare.messages import Message, Transport
from fed_backend.flare.run_state import Run, SiteStatus, shortened

__all__ = ["Board"]

logger = logging.getLogger(__name__)

_NEWS_S, _PROGRESS_S = 0.25, 0.5  # how often a change of state, and progress alone, are broadcast at most


class Board:
    """Changes the states of sites within a run, and tells the sites.

    Args:
        transport: carries messages to sites.
        clock: monotonic seconds.
    """

    def __init__(self, transport: Transport, clock: Callable[[], float]) -> None:
        self._transport, self._clock = transport, clock
        self._dirty = self._news = False
        self._at = -math.inf

    def changed(self) -> None:
        """Something changed that sites should see soon."""
        self._dirty = self._news = True

    def begins(self, run: Run, members: Iterable[str], ready: Iterable[str]) -> None:
        """A round begins with those that are ready."""
        run.sites = {site: SiteStatus.beginning(site in ready) for site in members}
        self.changed()

    def trains(self, run: Run, site: str, stage: str, progress: float) -> None:
        """What a site says about its training."""
        self._dirty |= run.sites[site].show(stage, progress)

    def sent(self, run: Run, site: str) -> None:
        """A site's update has come."""
        run.sites[site] = SiteStatus(state="sending", progress=1.0)
        self.changed()

    def failed(self, run: Run, site: str, reason: str) -> None:
        """A site is out of the round; an update that was averaged stays so, whatever becomes of the offer."""
        status = run.sites[site]
        status.reason = shortened(reason)
        if status.state != "aggregated":
            status.state = "failed"
        self.changed()

    def returned(self, run: Run, site: str) -> None:
        """A site that had failed by its silence is heard again."""
        logger.info("%s is heard again", site)
        status = run.sites[site]
        status.reason = ""
        if status.state == "failed":
            status.state = "waiting"
        self.changed()

    def aggregated(self, run: Run, notes: Mapping[str, str], sites: Iterable[str]) -> None:
        """The updates of ``sites`` are in the aggregate; notes say what robust aggregation did with some."""
        for site in sites:
            run.sites[site] = SiteStatus(state="aggregated", progress=1.0, note=shortened(notes.get(site, "")))
        self.changed()

    def judged(self, run: Run, site: str, report: Any) -> None:
        """What a site's gate answered to the aggregate."""
        run.sites[site].take_report(report if isinstance(report, Mapping) else {})
        self.changed()

    def greet(self, run: Run, site: str) -> None:
        """Show the run to a site that was not there."""
        self._transport.post(site, Message("status", {"round": run.as_json()}))

    def broadcast(self, run: Run, sites: Callable[[], Iterable[str]]) -> None:
        """Show the run to all, if it changed and the last time is long enough ago; its end at once."""
        now = self._clock()
        if not self._dirty or (run.active and now - self._at < (_NEWS_S if self._news else _PROGRESS_S)):
            return
        self._dirty, self._news, self._at = False, False, now
        message = Message("status", {"round": run.as_json()})
        for site in sites():
            self._transport.post(site, message)
