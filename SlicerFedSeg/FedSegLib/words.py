"""States of the site in a person's words; pure functions, so that every text can be tested without a window."""

from __future__ import annotations

import math
from dataclasses import replace

from .address import Address
from .cases import CaseRow, CaseState
from .progress import Federation, Learning, PastRound, PastRun, Round, SiteProgress
from .protocol import Mask, Receipt, SiteInfo
from .state import CaseView, Comparison, Notice, Tone
from .versions import Statistics, Version

_PARTS = {
    "train": "The site will learn from it.",
    "validation": "The site judges new versions by it.",
    "holdout": "The site keeps it aside for the final test.",
}
_LEARNING = {
    "idle": "Nothing learned yet.",
    "queued": "Waiting for the learner.",
    "training": "Training on your corrections.",
    "gating": "Comparing the new version with the one that serves.",
    "failed": "Learning failed.",
    "cancelled": "Learning was stopped.",
}
_ROUND = {
    "requested": "Asked the hub; waiting for it.",
    "finished": "Finished.",
    "failed": "Failed.",
    "stopped": "Stopped.",
}


def seconds_in_words(seconds: float) -> str:
    """Time left, roughly: "about 40 s", "about 3 min", "about 2 h"."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds / 10) * 10} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 3600)} h"


def dice_in_words(dice: float | None) -> str:
    """A Dice value with two digits; "–" when there is none."""
    return "–" if dice is None else f"{dice:.2f}"


def connection_answer(address: Address, info: SiteInfo) -> Notice:
    """The answer to "Test connection"."""
    if info.stock:
        who = f"Reachable: '{info.name}', a stock MONAI Label server (version {info.version or 'unknown'})."
        who += " You can segment and submit; learning and federation are not there."
    else:
        who = f"Reachable: site '{info.site}', FedSeg {info.fedseg}."
    role = f" Your role: {info.role}." if info.role else ""
    models = ", ".join(model.name for model in info.models) or "none"
    return Notice(f"{who}{role} Models: {models}. {link_words(address)}", tone=Tone.GOOD)


def link_words(address: Address) -> str:
    """Who can read along on the way to the server."""
    if address.encrypted:
        return "Encrypted; the server proved who it is."
    return "The site runs on this computer." if address.loopback else "The connection is NOT encrypted."


def site_words(address: Address, info: SiteInfo) -> str:
    """One line about the connected site."""
    who = f"{info.name} (stock MONAI Label)" if info.stock else f"Site '{info.site}'"
    role = f" · {info.role}" if info.role else ""
    return f"{who}{role} · {link_words(address)}"


def answered_by(mask: Mask, total: float) -> str:
    """Which version made the mask, and how long the person waited."""
    return f"{mask.version or mask.model} · {total:.1f} s"


def live_answer(version: str, waited: float, at_site: float) -> str:
    """Which version answered a prompt, and how long that took.

    Args:
        waited: seconds until the person saw it. at_site: milliseconds of these at the site.
    """
    return f"{version} · {waited * 1000:.0f} ms ({at_site:.0f} at the site)"


def receipt_words(receipt: Receipt) -> Notice:
    """What became of a submitted mask."""
    words = [f"'{receipt.case}' is submitted."]
    if receipt.dice_shown is not None:
        words.append(f"The mask you were shown had Dice {receipt.dice_shown:.2f} against yours.")
    if receipt.part is not None:
        words.append(_PARTS[receipt.part])
    return Notice(" ".join(words), tone=Tone.GOOD)


def case_words(case: CaseView) -> str:
    """The open case in one or two lines."""
    done = " · submitted" if case.submitted else ""
    reason = f"\nChosen because: {case.reason}" if case.reason else ""
    again = "\nOpened again, with the mask that was submitted." if case.reopened else ""
    return f"{case.id}{done}{reason}{again}"


def with_waiting(rows: tuple[CaseRow, ...], waiting: tuple[str, ...], opened: CaseView | None) -> tuple[CaseRow, ...]:
    """The work list, with what this computer knows better: masks that wait, and the case that is open."""

    def known_better(row: CaseRow) -> CaseRow:
        if row.id in waiting:
            return replace(row, state=CaseState.WAITING)
        if opened is not None and row.id == opened.id and not opened.submitted and row.state is CaseState.NEW:
            return replace(row, state=CaseState.IN_WORK)
        return row

    return tuple(known_better(row) for row in rows)


def row_words(row: CaseRow) -> str:
    """A case of the work list, for its tooltip."""
    by = f", by {', then '.join(author or 'somebody' for author in row.authors)}" if row.authors else ""
    dice = "" if row.dice is None else f". The mask shown had Dice {row.dice:.2f} against the one submitted"
    return f"{row.id}: {row.state.value}{by}{dice}."


def waiting_words(waiting: tuple[str, ...], refused: tuple[tuple[str, str], ...]) -> str:
    """Which masks are on this computer and not yet at the site."""
    lines = []
    if waiting:
        lines.append(f"Waiting on this computer to be sent: {', '.join(waiting)}.")
    lines += [f"Refused by the site: {case} ({reason})" for case, reason in refused]
    return "\n".join(lines)


def version_rows(versions: tuple[Version, ...], statistics: Statistics) -> list[tuple[str, ...]]:
    """Rows of the versions table: name, where it comes from, state, Dice of its masks, how many were corrected."""
    rows: list[tuple[str, ...]] = []
    for version in versions:
        use = statistics.use_of(version.id)
        dice = dice_in_words(use.dice if use is not None else None)
        state = "serves" if version.serves else version.state
        rows.append((version.id, version.origin, state, dice, str(use.corrections) if use is not None else "0"))
    return rows


def version_choice(version: Version) -> str:
    """A version among others: its name, where it comes from, whether it serves."""
    origins = {"base": "initial", "learning": "personal", "federation": "federated"}
    serves = ", serves" if version.serves else ""
    return f"{version.id} ({origins.get(version.origin, version.origin)}{serves})"


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Rows of the comparison: structure, volume in either mask, Dice."""
    return [(name, f"{one:.1f} ml", f"{two:.1f} ml", dice_in_words(dice)) for name, one, two, dice in comparison.rows]


def version_words(version: Version) -> str:
    """A version, for its tooltip."""
    parent = f" from {version.parent}" if version.parent else ""
    day = f", {version.created[:16].replace('T', ' ')}" if version.created else ""
    return f"{version.id} ({version.origin}{parent}{day}): {version.reason or version.state}"


def learning_words(learning: Learning | None) -> str:
    """One or two sentences about the learner."""
    if learning is None:
        return "Asking the site …"
    if learning.state == "done" and learning.result is not None:
        result = learning.result
        name = result.version or "The new version"
        verdict = f"{name} serves now" if result.promoted else f"{name} was not taken"
        compared = ""
        if result.dice_champion is not None and result.dice_challenger is not None:
            compared = f" (Dice {result.dice_champion:.2f} → {result.dice_challenger:.2f})"
        return f"{verdict}{compared}. {result.reason}".strip()
    words = _LEARNING.get(learning.state, f"State: {learning.state}.")
    if learning.message and learning.running:
        words = _sentence(learning.message)  # the site knows more closely what it does
    elif learning.message and learning.state != "idle":
        words = f"{words.rstrip('.')}: {learning.message}"
    if learning.running and learning.seconds_left is not None:
        words = f"{words.rstrip('.')}: {seconds_in_words(learning.seconds_left)} left."
    return words


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def federation_words(federation: Federation | None, round_: Round | None) -> str:
    """One or two sentences about the federation and its present round."""
    if federation is None:
        return "Asking the site …"
    if not federation.enabled or federation.plan is None:
        return "This site belongs to no federation."
    plan = federation.plan
    words = f"Plan '{plan.name}': {plan.method} on {plan.model}."
    if round_ is not None and round_.sites:
        words += f" Members: {', '.join(site.name for site in round_.sites)}."
    if plan.approved is False:
        words += " Nobody at this site has agreed to the plan, so it takes no part."
    elif federation.paused:
        words += " This site is paused."
    elif not federation.courier_connected:
        words += " This site's courier is not connected, so it takes no part in rounds."
    return words if round_ is None else f"{words}\n{round_words(round_)}"


def round_words(round_: Round) -> str:
    """How far a federated run is, or how it ended."""
    by = f" Started by {round_.started_by}." if round_.started_by else ""
    if round_.state == "running":
        number = min(round_.number, round_.rounds) if round_.rounds else round_.number
        return f"Round {number} of {round_.rounds} is running.{by}"
    words = _ROUND.get(round_.state, f"State: {round_.state}.")
    reason = f" {round_.reason}" if round_.reason else ""
    return f"{words}{reason}{by}"


def site_state_words(site: SiteProgress) -> str:
    """State of one site in a round, with its progress or its reason."""
    if site.state == "training" and site.progress is not None:
        return f"training {site.progress:.0%}"
    return f"{site.state}: {site.reason}" if site.reason and site.state == "failed" else site.state


def verdict_words(site: SiteProgress) -> str:
    """What the site's gate decided about the aggregate."""
    if site.promoted is None:
        return "–"
    return "taken" if site.promoted else "kept its own"


def past_round_words(past: PastRound) -> str:
    """One finished round: Dice per site, traffic and time."""
    dice = ", ".join(f"{name} {value:.2f}" for name, value in past.dice) or "no Dice told"
    megabytes = (past.bytes_up + past.bytes_down) / 1e6
    refused = "".join(f" · refused: {name} ({reason or 'no reason told'})" for name, reason in past.refused)
    return f"Round {past.number}: {dice} · {megabytes:.1f} MB · {past.seconds:.0f} s{refused}"


def past_run_words(run: PastRun) -> str:
    """An earlier run in one line."""
    by = f", started by {run.started_by}" if run.started_by else ""
    reason = f": {run.reason}" if run.reason else ""
    rounds = f"{run.rounds} round{'' if run.rounds == 1 else 's'}"
    return f"{run.method}, {rounds}{by} – {run.state}{reason}"


def round_curve(run: Round) -> tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Sites, round numbers, and for every site its Dice in each (NaN where it told none)."""
    names = tuple(sorted({name for past in run.history for name, _ in past.dice}))
    tables = [dict(past.dice) for past in run.history]
    values = tuple(tuple(table.get(name, math.nan) for table in tables) for name in names)
    return names, tuple(past.number for past in run.history), values
