"""What the learner does when there is nothing to do: ask the champion which cases it is unsure of, and where
it and what a federation offered disagree."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from monailabel_app.errors import Cancelled, NotFound, StateError
from monailabel_app.imaging.files import read_volume, site_images
from monailabel_app.learning.acquisition import Rival, value_of
from monailabel_app.learning.schedule import facts_of, local_now
from monailabel_app.learning.tasks.workbench import Workbench
from monailabel_app.state.acquisition import CaseValue
from monailabel_app.state.versions import VersionStore

__all__ = ["MOST", "rival_of", "value_next"]

logger = logging.getLogger("fedseg.learner")

MOST = 100
"""Cases asked for per version: enough to choose from, and an end to the work."""

QUIET_S = 30.0
"""Nobody must have prompted or submitted for so long: annotators go first."""


def value_next(bench: Workbench, stop: Callable[[], bool], now: Callable[[], datetime] = local_now) -> bool:
    """Ask about one open training case; whether there may be more to do at once.

    Args:
        bench: the learner's models.
        stop: whether a job waits. It and annotators at work are looked for between slices; either ends
            the work without a trace.
        now: aware time.
    """
    state, model = bench.state, bench.default_model

    def busy() -> bool:
        active = facts_of(state, model).active_at
        return stop() or (active is not None and 0 <= (now() - active).total_seconds() < QUIET_S)

    if busy():
        return False
    segmenter, store = bench.open(model)
    champion = store.champion()
    opponent = rival_of(store, champion)
    rival = opponent[0] if opponent else None
    done = {case for case, value in state.acquisition.of_version(champion).items() if value.rival == rival}
    corrected = {correction.case for correction in state.corrections.list()}
    files = site_images(bench.setup.studies)
    waiting = [c for c in state.splits.in_order("train") if c in files and c not in corrected and c not in done]
    if not waiting or len(done) >= MOST:
        return False

    def check(share: float) -> None:
        if busy():
            raise Cancelled("a job or an annotator goes first")

    segmenter.load_adapter(store.load(champion))
    try:
        value = value_of(segmenter, read_volume(files[waiting[0]]), check, opponent)
    except Cancelled:
        return False
    except Exception as error:  # unreadable, too large for the memory, ...: it is not asked about again
        logger.info("an open case could not be looked at: %s", type(error).__name__)
        value = CaseValue(0.0, (), None, rival)
    state.acquisition.put(champion, waiting[0], value)
    return True


def rival_of(store: VersionStore, champion: str) -> Rival | None:
    """The version to compare a champion with: the newest that a federation offered, or, where such a one
    serves, the version it followed; ``None`` where there is none or it cannot be read."""
    serving = store.get(champion)
    offered = [version.id for version in store.list() if version.origin == "federation"]
    name = serving.parent if serving.origin == "federation" else next(reversed(offered), None)
    if name is None:
        return None
    try:
        return name, store.load(name)
    except (NotFound, StateError):
        return None
