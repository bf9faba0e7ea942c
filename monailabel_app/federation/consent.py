"""Consent of a site to a plan: an administrator approves it once, by its hash, before anything moves.

The plan says what leaves the site (tensors by name, labels, method, rounds, privacy settings). A plan
that differs in any of it has another hash and needs another approval.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fed_backend.plan import Plan
from monailabel_app.errors import Conflict
from monailabel_app.state.audit import AuditLog
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now
from monailabel_app.state.settings import StoredSettings

__all__ = ["Approval", "Consent"]

_KEY = "approved_plans"


@dataclass(frozen=True)
class Approval:
    """Who approved a plan, and when (ISO 8601 UTC)."""

    who: str
    at: str


class Consent:
    """The plans that a site's administrators approved.

    Args:
        database: the site's records.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._settings = StoredSettings(database)
        self._audit = AuditLog(database)

    def of(self, plan: Plan) -> Approval | None:
        """The approval of a plan; ``None`` where nobody gave it, or it was withdrawn."""
        found = self._all().get(plan.sha256)
        return Approval(**found) if found else None

    def approve(self, plan: Plan, sha256: str, who: str) -> Approval:
        """Approve a plan that was read; approving it again changes nothing.

        Args:
            plan: the plan at this site.
            sha256: hash of the plan that the administrator has read.
            who: the administrator.

        Raises:
            Conflict: the plan at this site is another one.
        """
        if sha256 != plan.sha256:
            raise Conflict(
                f"the plan at this site is another one: {plan.sha256[:12]}…, not {sha256[:12]}…",
                "read the plan again (`fedseg plan show`, or GET /federation/plan) and approve the hash it shows",
            )
        with self._database.transaction():
            approval = self.of(plan)
            if approval is None:
                approval = Approval(who, utc_now())
                self._settings.set(_KEY, {**self._all(), sha256: asdict(approval)})
                self._audit.append("approved", who, f"plan {plan.name}", plan_sha256=sha256)
        return approval

    def withdraw(self, plan: Plan, who: str) -> None:
        """Take an approval back; without one nothing happens."""
        with self._database.transaction():
            approved = self._all()
            if approved.pop(plan.sha256, None) is not None:
                self._settings.set(_KEY, approved)
                self._audit.append("withdrawn", who, f"plan {plan.name}", plan_sha256=plan.sha256)

    def leave(self, plan: Plan, who: str) -> None:
        """Take the approval back because the site leaves the federation; noted in any case."""
        with self._database.transaction():
            self.withdraw(plan, who)
            self._audit.append("left", who, f"federation {plan.name}", plan_sha256=plan.sha256)

    def require(self, plan: Plan) -> None:
        """Do nothing for an approved plan.

        Raises:
            Conflict: it is not approved.
        """
        if self.of(plan) is None:
            raise Conflict(
                f"no administrator of this site has approved plan {plan.name!r} ({plan.sha256[:12]}…)",
                "read it with `fedseg plan show`, then approve it: `fedseg plan approve`, or POST /federation/plan",
            )

    def _all(self) -> dict[str, Any]:
        stored = self._settings.get(_KEY, {})
        return dict(stored) if isinstance(stored, dict) else {}
