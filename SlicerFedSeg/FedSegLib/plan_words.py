"""A federation's plan in a person's words: what it says, and what agreeing to it lets out of the site."""

from __future__ import annotations

from .language import tr as _
from .progress import Plan
from .words import rounds_in_words


def plan_words(plan: Plan) -> str:
    """What the plan says, line by line, with who agreed to it here."""
    details = plan.details
    rounds = rounds_in_words(plan.rounds)
    lines = [
        _("Method: {methods}, {rounds} unless told otherwise.").format(
            methods=_(" or ").join(plan.methods), rounds=rounds
        )
    ]
    if details is not None:
        lines.append(
            _("Model: {model}, for {labels}; {steps} training steps a round.").format(
                model=plan.model, labels=", ".join(details.labels), steps=details.steps
            )
        )
        lines.append(_("Sent to the hub: {traffic}.").format(traffic=_traffic(plan)))
        lines.append(_("A round counts with at least {quorum} site(s).").format(quorum=details.quorum))
        if details.robust:
            lines.append(
                _("The hub mixes updates so that a few hostile ones do little harm ({robust}).").format(
                    robust=details.robust
                )
            )
        lines.append(
            _("Rounds may be started by {sites}.").format(sites=", ".join(details.starters) or _("every site"))
        )
    if plan.approved:
        by = _(" by {who}").format(who=plan.approved_by) if plan.approved_by else ""
        day = _(" on {day}").format(day=plan.approved_at[:10]) if plan.approved_at else ""
        lines.append(_("Agreed to{by}{day}.").format(by=by, day=day))
    lines.append(_("Fingerprint: {hash}…").format(hash=plan.sha256[:12]))
    return "\n".join(lines)


def plan_question(plan: Plan, site: str) -> str:
    """What leaves the site once its administrator agrees to the plan."""
    lines = [
        _("Agree to plan '{name}' for the site '{site}'? Its courier will then take part in federated rounds.").format(
            name=plan.name, site=site
        ),
        _(
            "To the hub goes, in every round: {traffic}; how many cases it learned from, how long "
            "that took, and the mean Dice on its own validation cases. The hub mixes what all "
            "sites sent and returns it; the site's own gate decides whether to use it."
        ).format(traffic=_traffic(plan)),
        _(
            "Images, masks, points, and names of cases or persons do not leave the site. Numbers "
            "of a model can still carry traces of the cases it learned from."
        ),
        _("You can take this back at any time. What was sent until then stays with the federation."),
        _("Fingerprint of the plan: {hash}…").format(hash=plan.sha256[:12]),
    ]
    return "\n\n".join(lines)


def _traffic(plan: Plan) -> str:
    details = plan.details
    if details is None or not details.numbers:
        return _("the numbers of '{model}' that were trained here").format(model=plan.model)
    up, down = details.bytes_up / 1e6, details.bytes_down / 1e6
    size = _("{up:.1f} MB a round; {down:.1f} MB back").format(up=up, down=down)
    return _("{numbers:,} numbers of '{model}' that were trained here ({size})").format(
        numbers=details.numbers, model=plan.model, size=size
    )
