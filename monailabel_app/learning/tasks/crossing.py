"""Cross-validated evidence for the gate while a site has too few validation cases for a test.

Patients from whom the champion cannot have learned are dealt into folds. For each fold a version is
trained from the champion on all other corrections, just as the challenger was, and measured on the
fold; the champion is measured on the same cases. So every case of a small site counts, and none is
judged by a version that was trained on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fed_backend.payload import Tensors
from monailabel_app.learning.evaluate import Measured
from monailabel_app.learning.tasks.judging import CrossScores
from monailabel_app.models.base import Progress
from monailabel_app.state.corrections import Correction
from monailabel_app.state.retention import lineage
from monailabel_app.state.versions import Version, VersionStore

__all__ = ["FOLDS", "cross_validate", "folds_of", "unseen"]

FOLDS = 4
"""Most folds, so that the extra work stays within four trainings."""

Train = Callable[[Sequence[Correction], Progress], Tensors]
Score = Callable[[Tensors, Sequence[Correction]], dict[str, Measured]]


def unseen(
    store: VersionStore, champion: str, patients: Mapping[str, str], corrections: Sequence[Correction]
) -> set[str]:
    """Patients from whom neither the champion nor a version that it descends from can have learned.

    Args:
        store: the versions.
        champion: the one that serves.
        patients: correction id -> patient, of all corrections.
        corrections: all of them; a version that came from elsewhere may have learned from whatever had
            been submitted by then.
    """
    seen: set[str] = set()
    for version in lineage(store.list(), champion):
        seen |= {patients[data.correction] for data in version.data if data.correction in patients}
        if version.origin in ("federation", "import"):
            seen |= {patients[c.id] for c in corrections if _was_there(c, version)}
    return set(patients.values()) - seen


def _was_there(correction: Correction, version: Version) -> bool:
    """Whether a correction had been submitted when a version was stored: by number, since clocks are set back."""
    if version.corrections is None:
        return correction.submitted_at <= version.created
    return correction.number <= version.corrections


def folds_of(
    corrections: Sequence[Correction], patients: Mapping[str, str], at_most: int = FOLDS
) -> list[list[Correction]]:
    """Deal corrections into folds, all of a patient into one; none for a single patient.

    Args:
        corrections: those that may be held out.
        patients: correction id -> patient.
        at_most: number of folds where there are as many patients.
    """
    names = sorted({patients[c.id] for c in corrections})
    if len(names) < 2:
        return []
    folds: list[list[Correction]] = [[] for _ in range(min(at_most, len(names)))]
    for correction in corrections:
        folds[names.index(patients[correction.id]) % len(folds)].append(correction)
    return folds


def cross_validate(
    champion: str,
    start: Tensors,
    corrections: Sequence[Correction],
    folds: Sequence[Sequence[Correction]],
    train: Train,
    score: Score,
    progress: Progress,
) -> CrossScores:
    """Train once per fold and measure what was held out.

    Args:
        champion: id of the champion.
        start: its tensors.
        corrections: all that the challenger was trained on.
        folds: what to hold out, one after the other.
        train: trains from the champion on some corrections.
        score: measures tensors on some corrections.
        progress: takes the finished share; raises ``Cancelled``.
    """
    before: dict[str, Measured] = {}
    after: dict[str, Measured] = {}
    for done, fold in enumerate(folds):
        held_out = {correction.id for correction in fold}
        rest = [c for c in corrections if c.id not in held_out]

        def share(part: float, done: int = done) -> None:
            progress((done + part) / len(folds))

        before |= score(start, fold)
        after |= score(train(rest, share), fold)
    return CrossScores(champion, before, after)
