"""One exchange from the sender's side: a visit is sent, and its outcome waited for.

Whatever breaks in between, the same bytes are sent again under the same number until the receiver has
them: it takes a repeat for the same visit. After the deadline the exchange counts as lost, which harms
nobody.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fed_backend.gossip.protocol import PeerBusy, PeerRefused, PeerUnreachable, VisitState

__all__ = ["GONE_S", "PATIENCE_S", "Line", "Outcome", "carry"]

PATIENCE_S = 8.0
"""How long a peer that has not taken the visit yet may be silent before the exchange is given up."""
GONE_S = 60.0
"""How long a peer that has taken it may be silent: its courier may restart meanwhile."""
_POLL_S = 2.0
_STEP_S = 0.05
_FIRST_S, _MOST_S = 0.3, 5.0


class Line(Protocol):
    """The way to one peer; :class:`.PeerClient` is one."""

    def send(self, number: int, data: bytes, over: Callable[[], bool]) -> VisitState: ...

    def state(self, number: int, wait_s: float, over: Callable[[], bool]) -> VisitState | None: ...


@dataclass(frozen=True)
class Outcome:
    """How an exchange ended.

    Attributes:
        arrived: whether the receiver let the visitor in.
        reason: why not, else the receiver's gate in words.
        report: what the receiver answered.
        bytes_sent: of payloads, repeats included.
        unreachable: whether it failed because the peer could not be reached.
    """

    arrived: bool
    reason: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    bytes_sent: int = 0
    unreachable: bool = False


def carry(
    line: Line,
    number: int,
    data: bytes,
    deadline_s: float,
    *,
    stopped: Callable[[float], bool],
    on_stage: Callable[[str], None] = lambda stage: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Send a visit and wait for its outcome.

    Args:
        line: to the receiver.
        number: of the visit.
        data: the payload.
        deadline_s: when to give up, also in the middle of a call.
        stopped: waits the given seconds; ``True`` ends the exchange, also in the middle of a call.
        on_stage: told ``sending``, ``waiting`` and ``learning``.
        clock: monotonic seconds.
    """
    until, heard = clock() + deadline_s, clock()
    sent, failures, taken, nothing = 0, 0, False, f"no outcome within {deadline_s:g} s"
    rng = random.Random()  # noqa: S311 - spreads repeats in time

    def over() -> bool:
        return clock() > until or stopped(0.0)

    on_stage("sending")
    while True:
        pause, trouble = 0.0, ""
        try:
            if not taken:
                sent += len(data)
                state: VisitState | None = line.send(number, data, over)
            else:
                asked, wait_s = clock(), min(_POLL_S, max(0.0, until - clock()))
                state = line.state(number, wait_s, over)
                pause = 0.0 if clock() - asked >= wait_s else _STEP_S  # a peer that is stopping does not wait
            heard, failures, taken = clock(), 0, state is not None
            if state is not None:
                if state.over:
                    return _ended(state, sent)
                on_stage(state.state)
        except PeerBusy as busy:
            heard, pause = clock(), busy.retry_after_s * (0.75 + 0.5 * rng.random())
            trouble = str(busy)
        except PeerRefused as refused:
            return Outcome(False, str(refused), bytes_sent=sent)
        except PeerUnreachable as gone:
            if stopped(0.0):
                return Outcome(False, "stopped", bytes_sent=sent)
            failures += 1
            pause = min(_MOST_S, _FIRST_S * 2.0**failures) * (0.5 + rng.random())
            trouble = str(gone)
            if clock() - heard > (GONE_S if taken else PATIENCE_S):
                return Outcome(False, trouble, bytes_sent=sent, unreachable=True)
            if clock() > until:  # this end broke the call off: a peer that was heard just now may be well
                return Outcome(False, nothing, bytes_sent=sent, unreachable=failures > 1)
        if clock() + pause > until:
            return Outcome(False, trouble or nothing, bytes_sent=sent, unreachable=bool(failures))
        if stopped(pause):
            return Outcome(False, "stopped", bytes_sent=sent)


def _ended(state: VisitState, sent: int) -> Outcome:
    if state.state == "refused":
        reason = f"{state.detail} ({state.hint})" if state.hint else state.detail
        return Outcome(False, reason, bytes_sent=sent)
    return Outcome(True, str(state.report.get("reason", "")), dict(state.report), sent)
