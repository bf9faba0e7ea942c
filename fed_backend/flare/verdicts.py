"""Judging what a site asks of the hub: a pure function from plan, state and request to a verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fed_backend.flare.messages import Verdict
from fed_backend.flare.run_state import Run
from fed_backend.plan import Plan

__all__ = ["MAX_ROUNDS", "judge"]

MAX_ROUNDS = 1000
_RUN_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def judge(plan: Plan, run: Run | None, site: str, fields: Mapping[str, Any]) -> Verdict:
    """Whether ``site`` may have what it asks for.

    Args:
        plan: the federation's plan.
        run: the last run, active or ended.
        site: who asks, as its certificate names it.
        fields: id, action (start, stop), method, rounds, as received.

    Returns:
        403 if the plan does not let the site ask, 422 if the request is malformed, 409 if it does
        not fit the state (a run is active: who started it), else 202.
    """
    if not plan.may_start(site):
        return Verdict(
            403, f"site {site!r} may not start or stop rounds", f"the plan allows it to: {', '.join(plan.starters)}"
        )
    run_id = fields.get("id")
    if not isinstance(run_id, str) or not _RUN_ID.match(run_id):
        return Verdict(422, "the request has no valid id", "use a client of the same version")
    if fields.get("action") == "stop":
        return _judge_stop(run, run_id)
    if fields.get("action") != "start":
        return Verdict(422, f"unknown action {fields.get('action')!r}", "ask for 'start' or 'stop'")
    if run and run.id == run_id:
        return _judge_repeat(run, site)
    if run and run.active:
        return Verdict(
            409,
            f"a run of rounds that {run.started_by!r} started is in round {run.round + 1} of {run.rounds}",
            "wait for its end, or stop it",
        )
    return _judge_start(plan, fields)


def _judge_stop(run: Run | None, run_id: str) -> Verdict:
    if not run or run.id != run_id or not run.active:
        return Verdict(409, f"run {run_id!r} is not running", "it may have ended already")
    return Verdict(202, "the run is stopped")


def _judge_repeat(run: Run, site: str) -> Verdict:
    """A site asks again when the hub's answer got lost."""
    if run.started_by != site:
        return Verdict(409, f"run {run.id!r} belongs to {run.started_by!r}", "ask with a new id")
    return Verdict(202, "the run was started")


def _judge_start(plan: Plan, fields: Mapping[str, Any]) -> Verdict:
    method = fields.get("method")
    if method is not None and method not in plan.methods:
        return Verdict(
            409,
            f"method {method!r} is none of the plan's: {', '.join(plan.methods)}",
            "leave the method out, or agree on another plan",
        )
    rounds = fields.get("rounds")
    if rounds is not None and (not isinstance(rounds, int) or not 1 <= rounds <= MAX_ROUNDS):
        return Verdict(422, f"rounds is {rounds!r}", f"ask for 1 to {MAX_ROUNDS} rounds")
    return Verdict(202, "the run was started")
