"""States of the site in a person's words; pure functions, so that every text can be tested without a window."""

from __future__ import annotations

import math
from dataclasses import replace

from .address import Address
from .cases import CaseRow, CaseState
from .language import mark
from .language import tr as _
from .progress import Federation, Learning, PastRound, PastRun, Round, SiteProgress
from .protocol import Mask, Receipt, SiteInfo
from .state import CaseView, Comparison, Notice, Tone
from .versions import Statistics, Version

_PARTS = {
    "train": mark("The site will learn from it."),
    "validation": mark("The site judges new versions by it."),
    "holdout": mark("The site keeps it aside for the final test."),
}
_LEARNING = {
    "idle": mark("Nothing learned yet."),
    "queued": mark("Waiting for the learner."),
    "training": mark("Training on your corrections."),
    "gating": mark("Comparing the new version with the one that serves."),
    "failed": mark("Learning failed."),
    "cancelled": mark("Learning was stopped."),
}
_TERMS = frozenset(
    (
        *(mark("base"), mark("learning"), mark("federation")),
        *(mark("serves"), mark("accepted"), mark("refused"), mark("candidate"), mark("champion")),
        *(mark("waiting"), mark("training"), mark("sending"), mark("aggregated"), mark("failed")),
        *(mark("requested"), mark("running"), mark("finished"), mark("stopped")),
    )
)
_ROUND = {
    "requested": mark("Asked the hub; waiting for it."),
    "finished": mark("Finished."),
    "failed": mark("Failed."),
    "stopped": mark("Stopped."),
}


def seconds_in_words(seconds: float) -> str:
    """Time left, roughly: "about 40 s", "about 3 min", "about 2 h"."""
    if seconds < 10:
        return _("a few seconds")
    if seconds < 90:
        return _("about {seconds} s").format(seconds=round(seconds / 10) * 10)
    if seconds < 90 * 60:
        return _("about {seconds} min").format(seconds=round(seconds / 60))
    return _("about {seconds} h").format(seconds=round(seconds / 3600))


def term(state: str) -> str:
    """A state or an origin as sites name it, in the person's language; one that is not known as it is."""
    return _(state) if state in _TERMS else state


def rounds_in_words(count: int) -> str:
    """ "1 round", "3 rounds"."""
    return _("1 round") if count == 1 else _("{count} rounds").format(count=count)


def dice_in_words(dice: float | None) -> str:
    """A Dice value with two digits; "–" when there is none."""
    return "–" if dice is None else f"{dice:.2f}"


def connection_answer(address: Address, info: SiteInfo) -> Notice:
    """The answer to "Test connection"."""
    if info.stock:
        who = _("Reachable: '{name}', a stock MONAI Label server (version {version}).").format(
            name=info.name, version=info.version or _("unknown")
        )
        who += _(" You can segment and submit; learning and federation are not there.")
    else:
        who = _("Reachable: site '{site}', FedSeg {fedseg}.").format(site=info.site, fedseg=info.fedseg)
    role = _(" Your role: {role}.").format(role=info.role) if info.role else ""
    models = ", ".join(model.name for model in info.models) or _("none")
    return Notice(
        _("{who}{role} Models: {models}. {address}").format(
            who=who, role=role, models=models, address=link_words(address)
        ),
        tone=Tone.GOOD,
    )


def link_words(address: Address) -> str:
    """Who can read along on the way to the server."""
    if address.encrypted:
        return _("Encrypted; the server proved who it is.")
    return _("The site runs on this computer.") if address.loopback else _("The connection is NOT encrypted.")


def sign_in_words(address: Address) -> str:
    """What is said where a name and a password are asked for: who could read them on the way, too."""
    asks = _("The site asks who you are.")
    return asks if address.private else f"{asks} {link_words(address)}"


def site_words(address: Address, info: SiteInfo) -> str:
    """One line about the connected site."""
    who = (
        _("{name} (stock MONAI Label)").format(name=info.name)
        if info.stock
        else _("Site '{site}'").format(site=info.site)
    )
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
    return _("{version} · {waited:.0f} ms ({at_site:.0f} at the site)").format(
        version=version, waited=waited * 1000, at_site=at_site
    )


def receipt_words(receipt: Receipt) -> Notice:
    """What became of a submitted mask."""
    words = [_("'{case}' is submitted.").format(case=receipt.case)]
    if receipt.dice_shown is not None:
        words.append(
            _("The mask you were shown had Dice {dice_shown:.2f} against yours.").format(dice_shown=receipt.dice_shown)
        )
    if receipt.part is not None:
        words.append(_(_PARTS[receipt.part]))
    return Notice(" ".join(words), tone=Tone.GOOD)


def case_words(case: CaseView) -> str:
    """The open case in one or two lines."""
    done = _(" · submitted") if case.submitted else ""
    reason = _("\nChosen because: {reason}").format(reason=case.reason) if case.reason else ""
    again = _("\nOpened again, with the mask that was submitted.") if case.reopened else ""
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
    by = (
        _(", by {authors}").format(authors=_(", then ").join(author or _("somebody") for author in row.authors))
        if row.authors
        else ""
    )
    dice = (
        ""
        if row.dice is None
        else _(". The mask shown had Dice {dice:.2f} against the one submitted").format(dice=row.dice)
    )
    return f"{row.id}: {_(row.state.value)}{by}{dice}."


def waiting_words(waiting: tuple[str, ...], refused: tuple[tuple[str, str], ...]) -> str:
    """Which masks are on this computer and not yet at the site."""
    lines = []
    if waiting:
        lines.append(_("Waiting on this computer to be sent: {cases}.").format(cases=", ".join(waiting)))
    lines += [_("Refused by the site: {case} ({reason})").format(case=case, reason=reason) for case, reason in refused]
    return "\n".join(lines)


def version_rows(versions: tuple[Version, ...], statistics: Statistics) -> list[tuple[str, ...]]:
    """Rows of the versions table: name, where it comes from, state, Dice of its masks, how many were corrected."""
    rows: list[tuple[str, ...]] = []
    for version in versions:
        use = statistics.use_of(version.id)
        dice = dice_in_words(use.dice if use is not None else None)
        state = term("serves" if version.serves else version.state)
        rows.append((version.id, term(version.origin), state, dice, str(use.corrections) if use is not None else "0"))
    return rows


def version_choice(version: Version) -> str:
    """A version among others: its name, where it comes from, whether it serves."""
    origins = {"base": _("initial"), "learning": _("personal"), "federation": _("federated")}
    serves = _(", serves") if version.serves else ""
    return f"{version.id} ({origins.get(version.origin, version.origin)}{serves})"


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Rows of the comparison: structure, volume in either mask, Dice."""
    return [(name, f"{one:.1f} ml", f"{two:.1f} ml", dice_in_words(dice)) for name, one, two, dice in comparison.rows]


def version_words(version: Version) -> str:
    """A version, for its tooltip."""
    parent = _(" from {parent}").format(parent=version.parent) if version.parent else ""
    day = f", {version.created[:16].replace('T', ' ')}" if version.created else ""
    return f"{version.id} ({term(version.origin)}{parent}{day}): {version.reason or term(version.state)}"


def learning_words(learning: Learning | None) -> str:
    """One or two sentences about the learner."""
    if learning is None:
        return _("Asking the site …")
    if learning.state == "done" and learning.result is not None:
        result = learning.result
        name = result.version or _("The new version")
        verdict = (
            _("{name} serves now").format(name=name) if result.promoted else _("{name} was not taken").format(name=name)
        )
        compared = ""
        if result.dice_champion is not None and result.dice_challenger is not None:
            compared = _(" (Dice {dice_champion:.2f} → {dice_challenger:.2f})").format(
                dice_champion=result.dice_champion, dice_challenger=result.dice_challenger
            )
        return f"{verdict}{compared}. {result.reason}".strip()
    words = _(_LEARNING.get(learning.state, "")) or _("State: {state}.").format(state=learning.state)
    if learning.message and learning.running:
        words = _sentence(learning.message)  # the site knows more closely what it does
    elif learning.message and learning.state != "idle":
        words = f"{words.rstrip('.')}: {learning.message}"
    if learning.running and learning.seconds_left is not None:
        words = _("{words}: {time} left.").format(words=words.rstrip("."), time=seconds_in_words(learning.seconds_left))
    return words


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def federation_words(federation: Federation | None, round_: Round | None) -> str:
    """One or two sentences about the federation and its present round."""
    if federation is None:
        return _("Asking the site …")
    if not federation.enabled or federation.plan is None:
        return _("This site belongs to no federation.")
    plan = federation.plan
    words = _("Plan '{name}': {method} on {model}.").format(name=plan.name, method=plan.method, model=plan.model)
    if round_ is not None and round_.sites:
        words += _(" Members: {sites}.").format(sites=", ".join(site.name for site in round_.sites))
    if plan.approved is False:
        words += _(" Nobody at this site has agreed to the plan, so it takes no part.")
    elif federation.paused:
        words += _(" This site is paused.")
    elif not federation.courier_connected:
        words += _(" This site's courier is not connected, so it takes no part in rounds.")
    return words if round_ is None else f"{words}\n{round_words(round_)}"


def round_words(round_: Round) -> str:
    """How far a federated run is, or how it ended."""
    by = _(" Started by {started_by}.").format(started_by=round_.started_by) if round_.started_by else ""
    if round_.state == "running":
        number = min(round_.number, round_.rounds) if round_.rounds else round_.number
        return _("Round {number} of {rounds} is running.{by}").format(number=number, rounds=round_.rounds, by=by)
    words = _(_ROUND.get(round_.state, "")) or _("State: {state}.").format(state=round_.state)
    reason = f" {round_.reason}" if round_.reason else ""
    return f"{words}{reason}{by}"


def site_state_words(site: SiteProgress) -> str:
    """State of one site in a round, with its progress or its reason."""
    if site.state == "training" and site.progress is not None:
        return f"{term(site.state)} {site.progress:.0%}"
    shown = term(site.state)
    return f"{shown}: {site.reason}" if site.reason and site.state == "failed" else shown


def verdict_words(site: SiteProgress) -> str:
    """What the site's gate decided about the aggregate."""
    if site.promoted is None:
        return "–"
    return _("taken") if site.promoted else _("kept its own")


def past_round_words(past: PastRound) -> str:
    """One finished round: Dice per site, traffic and time."""
    dice = ", ".join(f"{name} {value:.2f}" for name, value in past.dice) or _("no Dice told")
    megabytes = (past.bytes_up + past.bytes_down) / 1e6
    refused = "".join(
        _(" · refused: {name} ({reason})").format(name=name, reason=reason or _("no reason told"))
        for name, reason in past.refused
    )
    return _("Round {number}: {dice} · {megabytes:.1f} MB · {seconds:.0f} s{refused}").format(
        number=past.number, dice=dice, megabytes=megabytes, seconds=past.seconds, refused=refused
    )


def past_run_words(run: PastRun) -> str:
    """An earlier run in one line."""
    by = _(", started by {started_by}").format(started_by=run.started_by) if run.started_by else ""
    reason = f": {run.reason}" if run.reason else ""
    return f"{run.method}, {rounds_in_words(run.rounds)}{by} – {term(run.state)}{reason}"


def round_curve(run: Round) -> tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Sites, round numbers, and for every site its Dice in each (NaN where it told none)."""
    names = tuple(sorted({pair[0] for past in run.history for pair in past.dice}))
    tables = [dict(past.dice) for past in run.history]
    values = tuple(tuple(table.get(name, math.nan) for table in tables) for name in names)
    return names, tuple(past.number for past in run.history), values
