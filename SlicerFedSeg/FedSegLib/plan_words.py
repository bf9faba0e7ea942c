"""A federation's plan in a person's words: what it says, and what agreeing to it lets out of the site."""

from __future__ import annotations

from .progress import Plan


def plan_words(plan: Plan) -> str:
    """What the plan says, line by line, with who agreed to it here."""
    details = plan.details
    rounds = "1 round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    lines = [f"Method: {' or '.join(plan.methods)}, {rounds} unless told otherwise."]
    if details is not None:
        lines.append(f"Model: {plan.model}, for {', '.join(details.labels)}; {details.steps} training steps a round.")
        lines.append(f"Sent to the hub: {_traffic(plan)}.")
        lines.append(f"A round counts with at least {details.quorum} site(s).")
        if details.robust:
            lines.append(f"The hub mixes updates so that a few hostile ones do little harm ({details.robust}).")
        lines.append(f"Rounds may be started by {', '.join(details.starters) or 'every site'}.")
    if plan.approved:
        by = f" by {plan.approved_by}" if plan.approved_by else ""
        day = f" on {plan.approved_at[:10]}" if plan.approved_at else ""
        lines.append(f"Agreed to{by}{day}.")
    lines.append(f"Fingerprint: {plan.sha256[:12]}…")
    return "\n".join(lines)


def plan_question(plan: Plan, site: str) -> str:
    """What leaves the site once its administrator agrees to the plan."""
    lines = [
        f"Agree to plan '{plan.name}' for the site '{site}'? Its courier will then take part in federated rounds.",
        f"To the hub goes, in every round: {_traffic(plan)}; how many cases it learned from, how long that took, and "
        "the mean Dice on its own validation cases. The hub mixes what all sites sent and returns it; the site's own "
        "gate decides whether to use it.",
        "Images, masks, points, and names of cases or persons do not leave the site. Numbers of a model can still "
        "carry traces of the cases it learned from.",
        "You can take this back at any time. What was sent until then stays with the federation.",
        f"Fingerprint of the plan: {plan.sha256[:12]}…",
    ]
    return "\n\n".join(lines)


def _traffic(plan: Plan) -> str:
    details = plan.details
    if details is None or not details.numbers:
        return f"the numbers of '{plan.model}' that were trained here"
    up, down = details.bytes_up / 1e6, details.bytes_down / 1e6
    size = f"{up:.1f} MB a round; {down:.1f} MB back"
    return f"{details.numbers:,} numbers of '{plan.model}' that were trained here ({size})"
