"""How much privacy a site has spent: counted before an update can leave, shown in GET /federation and the audit log.

Every protected update is one use of the Gaussian mechanism on all of the site's training cases. Uses add up in
Rényi differential privacy (Mironov 2017, arXiv 1702.07476), which Opacus' accountant turns into epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fed_backend.plan import Plan
from monailabel_app.errors import Conflict
from monailabel_app.state.audit import AuditLog
from monailabel_app.state.database import Database
from monailabel_app.state.settings import StoredSettings

__all__ = ["PrivacyLedger", "epsilon_of", "withheld"]

_KEY = "privacy"
_FIGURES = ("dice_champion", "dice_challenger", "cases")


def epsilon_of(uses: Sequence[tuple[float, int]], delta: float) -> float:
    """Epsilon of several uses of the Gaussian mechanism together.

    Args:
        uses: (noise multiplier relative to the sensitivity, how often) of each.
        delta: of (epsilon, delta)-differential privacy.
    """
    from opacus.accountants import RDPAccountant  # type: ignore[import-untyped]  # slow to import

    if not sum(count for _, count in uses):
        return 0.0
    accountant = RDPAccountant()
    accountant.history = [(noise, 1.0, count) for noise, count in uses if count]
    return float(accountant.get_epsilon(delta))


class PrivacyLedger:
    """The protected updates of a site, of all plans.

    Args:
        database: the site's records.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._settings = StoredSettings(database)

    def require(self, plan: Plan) -> None:
        """Make sure that one more update is within the plan's limit.

        Raises:
            Conflict: it is not.
        """
        spec = plan.privacy
        if spec is None or spec.epsilon is None:
            return
        after = epsilon_of([(spec.noise, self._count(plan) + 1)], spec.delta)
        if after > spec.epsilon:
            raise Conflict(
                f"one more update would bring epsilon to {after:.3g}, and the plan allows {spec.epsilon:g}",
                "this site has given what the plan lets it give; more takes a new plan",
            )

    def spend(self, plan: Plan, federation_round: str, round_: int) -> None:
        """Count one update that is about to exist, with an entry of the audit log; nothing without a privacy plan."""
        if plan.privacy is None:
            return
        with self._database.transaction():
            spent: dict[str, Any] = self._settings.get(_KEY, {})
            before = spent.get(plan.sha256, {"noise": plan.privacy.noise, "updates": 0})
            self._settings.set(_KEY, {**spent, plan.sha256: {**before, "updates": before["updates"] + 1}})
            said = self.summary(plan)
            assert said is not None
            AuditLog(self._database).append(
                "protected",
                "learner",
                f"epsilon {said['epsilon']:.4g} under this plan, {said['site_epsilon']:.4g} in all, "
                f"delta {plan.privacy.delta:g}",
                plan_sha256=plan.sha256,
                federation_round=federation_round,
                round=round_,
            )

    def summary(self, plan: Plan) -> dict[str, Any] | None:
        """What the plan asks for and what is spent; ``None`` where it asks for nothing.

        Returns:
            ``clip, noise, delta, limit, updates``, ``epsilon`` of the updates under this plan, and
            ``site_epsilon`` of all protected updates of this site together.
        """
        if plan.privacy is None:
            return None
        spec, count = plan.privacy, self._count(plan)
        everything = [(use["noise"], use["updates"]) for use in self._settings.get(_KEY, {}).values()]
        return {
            "clip": spec.clip,
            "noise": spec.noise,
            "delta": spec.delta,
            "limit": spec.epsilon,
            "updates": count,
            "epsilon": epsilon_of([(spec.noise, count)], spec.delta),
            "site_epsilon": epsilon_of(everything, spec.delta),
        }

    def _count(self, plan: Plan) -> int:
        spent: dict[str, Any] = self._settings.get(_KEY, {})
        return int(spent.get(plan.sha256, {"updates": 0})["updates"])


def withheld(report: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A gate's report for the hub: without figures of the site's cases where the plan asks for privacy."""
    if plan.privacy is None:
        return report
    return {**report, **dict.fromkeys(_FIGURES), "reason": ""}
