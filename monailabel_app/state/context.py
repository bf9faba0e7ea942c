"""One site as its routes and its MONAI Label app see it.

The server builds a :class:`SiteContext` once and installs it with :func:`set_context`; routes take
it with ``Depends(get_context)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fed_backend.plan import LabelSchema, ModelSpec, Plan, TrainingSpec
from monailabel_app.errors import NotFound, Unavailable
from monailabel_app.federation.participant import Participant
from monailabel_app.state.site import SiteState

if TYPE_CHECKING:  # they import the state
    from monailabel_app.federation.rounds import RoundDesk
    from monailabel_app.learning.learner import Learner

__all__ = ["SiteContext", "get_context", "set_context"]


@dataclass
class SiteContext:
    """What a running site consists of.

    Attributes:
        site_name: the site's name in a federation.
        state: everything that survives a restart.
        studies: folder of the images.
        plan: the federation's plan; ``None`` outside a federation.
        specs: model name -> how it is built and adapted.
        labels: label name -> voxel value.
        training: how this site fine-tunes on its corrections.
        checkpoint: base checkpoint of a SAM model.
        learner: supervisor of the learner process.
        desk: requests for rounds, waiting for the courier.
        participant: the site's half of a round.
    """

    site_name: str
    state: SiteState
    studies: Path
    plan: Plan | None
    specs: dict[str, ModelSpec]
    labels: LabelSchema
    learner: Learner
    desk: RoundDesk
    training: TrainingSpec = field(default_factory=TrainingSpec)
    checkpoint: Path | None = None
    participant: Participant = field(init=False)

    def __post_init__(self) -> None:
        self.participant = Participant(self.state, self.plan, self.site_name)

    def close(self) -> None:
        """Stop the learner, let waiting requests go, and give the state folder back."""
        self.desk.close()
        self.learner.stop()
        self.state.close()

    @property
    def default_model(self) -> str:
        """The model that is meant when a request names none: the plan's, else the first."""
        return self.plan.model.name if self.plan is not None else next(iter(self.specs))

    def model(self, name: str | None) -> str:
        """``name`` if this site serves it, or the default.

        Raises:
            NotFound: no such model here.
        """
        chosen = name or self.default_model
        if chosen not in self.specs:
            raise NotFound(f"there is no model {chosen[:80]!r}", f"choose one of: {', '.join(self.specs)}")
        return chosen


_current: SiteContext | None = None


def set_context(context: SiteContext | None) -> None:
    """Install the context of this process's site, or remove it."""
    global _current
    _current = context


def get_context() -> SiteContext:
    """The context of this process's site.

    Raises:
        Unavailable: the site is still starting.
    """
    if _current is None:
        raise Unavailable("the site is still starting", "try again in a few seconds")
    return _current
