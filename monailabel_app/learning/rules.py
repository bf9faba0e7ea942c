"""Which rule the gate of a site follows."""

from __future__ import annotations

from dataclasses import replace

from fed_backend.plan import Plan
from monailabel_app.learning.gate import GateRule
from monailabel_app.state.site import SiteState

__all__ = ["site_rule"]


def site_rule(state: SiteState, plan: Plan | None = None) -> GateRule:
    """The gate's rule at this site; for what a federation offers, the stricter of the site's and the plan's."""
    rule = GateRule(**state.settings.get("gate", {}))
    if plan is None:
        return rule
    return replace(
        rule,
        margin=min(rule.margin, plan.gate_margin),
        confidence=max(rule.confidence, plan.gate_confidence),
        case_floor=max(rule.case_floor, plan.gate_case_floor),
        label_floor=max(rule.label_floor, plan.gate_label_floor),
    )
