"""The site's cases as a work list: which are new, in work, submitted, reviewed.

States are read from what every MONAI Label server tells (its index of images and labels) and, on a FedSeg site, from
its corrections and the person's open sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from .fields import Fields, parse_object
from .language import mark
from .language import tr as _

FINAL = "final"


class CaseState(Enum):
    """How far a case is; the text is what the person reads."""

    NEW = mark("new")
    IN_WORK = mark("in work")
    WAITING = mark("waiting to be sent")
    SUBMITTED = mark("submitted")
    REVIEWED = mark("reviewed")


@dataclass(frozen=True)
class CaseRow:
    """One case of the work list.

    Attributes:
        authors: who submitted it, the first one first; a second person makes it reviewed.
        dice: Dice of the mask shown against the newest one submitted, None when not known.
    """

    id: str
    state: CaseState
    authors: tuple[str, ...] = ()
    dice: float | None = None

    @property
    def finished(self) -> bool:
        """True when the site has a mask of it that a person submitted."""
        return self.state in (CaseState.SUBMITTED, CaseState.REVIEWED)


@dataclass(frozen=True)
class Correction:
    """One submitted mask of a case."""

    case: str
    author: str
    dice: float | None


def index(body: bytes) -> dict[str, bool]:
    """Parse ``GET /datastore/?output=all``: every case, and whether it has a final label."""
    objects = Fields(parse_object(body, _("the work list")), _("the work list")).child("objects")
    return {case: objects.child(case).child("labels").has(FINAL) for case in objects.keys()}  # noqa: SIM118


def corrections(body: bytes) -> list[Correction]:
    """Parse ``GET /corrections``, oldest first."""
    entries = Fields(parse_object(body, _("the corrections")), _("the corrections")).children("corrections")
    return [
        Correction(entry.text("case"), entry.text("author", ""), entry.maybe_number("dice_shown")) for entry in entries
    ]


def in_work(body: bytes) -> frozenset[str]:
    """Parse ``GET /sessions``: the cases that the person has open."""
    entries = Fields(parse_object(body, _("the sessions")), _("the sessions")).children("sessions")
    return frozenset(entry.text("image") for entry in entries)


def work_list(known: Mapping[str, bool], submitted: list[Correction], opened: frozenset[str]) -> tuple[CaseRow, ...]:
    """The rows, sorted by name as people count (case-2 before case-10)."""
    return tuple(_row(case, known[case], submitted, opened) for case in sorted(known, key=_natural))


def _row(case: str, final: bool, submitted: list[Correction], opened: frozenset[str]) -> CaseRow:
    mine = [one for one in submitted if one.case == case]
    authors = tuple(dict.fromkeys(one.author for one in mine))
    if not mine and not final:
        return CaseRow(case, CaseState.IN_WORK if case in opened else CaseState.NEW)
    reviewed = len(authors) > 1 and mine[-1].author != authors[0]
    state = CaseState.REVIEWED if reviewed else CaseState.SUBMITTED
    return CaseRow(case, state, authors, mine[-1].dice if mine else None)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    parts: list[tuple[int, int, str]] = []
    for is_digit, run in _runs(name):
        parts.append((0, int(run), "") if is_digit else (1, 0, run.lower()))
    return tuple(parts)


def _runs(name: str) -> list[tuple[bool, str]]:
    runs: list[tuple[bool, str]] = []
    for character in name:
        digit = character.isascii() and character.isdigit()
        if runs and runs[-1][0] is digit:
            runs[-1] = (digit, runs[-1][1] + character)
        else:
            runs.append((digit, character))
    return runs
