"""Put a site together from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fed_backend.plan import LabelSchema, ModelSpec, Plan, TrainingSpec
from monailabel_app.errors import Conflict
from monailabel_app.federation.participant import Participant
from monailabel_app.federation.rounds import RoundDesk
from monailabel_app.learning.learner import Learner
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.state.context import SiteContext
from monailabel_app.state.site import SiteState

__all__ = ["open_site"]


def open_site(
    site_name: str,
    folder: Path,
    studies: Path,
    specs: Mapping[str, ModelSpec],
    labels: LabelSchema,
    *,
    plan: Plan | None = None,
    training: TrainingSpec | None = None,
    checkpoint: Path | None = None,
    threads: int = 1,
    niceness: int = 10,
) -> SiteContext:
    """Open the state folder and build everything that works on it; nothing is started yet.

    Call ``context.learner.start()`` once the server serves, and ``context.close()`` at its end.

    Args:
        site_name: the site's name in a federation.
        folder: the state folder, created when absent.
        studies: folder of the images.
        specs: model name -> how it is built.
        labels: label name -> voxel value.
        plan: the federation's plan.
        training: how corrections are learned; ``None`` takes the plan's, or the defaults.
        checkpoint: base checkpoint of a SAM model.
        threads: torch threads of the learner.
        niceness: added to the server's, so that interaction goes first.

    Raises:
        Conflict: another server owns the folder, or the plan contradicts ``specs`` or ``labels``.
        StateError: the folder cannot be read or written.
    """
    if plan is not None:
        _agree(plan, specs, labels)
    chosen = training or (plan.training if plan is not None else TrainingSpec())
    setup = LearnerSetup(
        site_name=site_name,
        studies=studies.resolve(),
        specs=dict(specs),
        labels=labels,
        training=chosen,
        plan=plan,
        checkpoint=checkpoint.resolve() if checkpoint is not None else None,
        threads=threads,
        niceness=niceness,
    )
    state = SiteState(folder, studies)
    return SiteContext(
        site_name=site_name,
        state=state,
        studies=studies,
        plan=plan,
        specs=dict(specs),
        labels=labels,
        learner=Learner(state, setup),
        desk=RoundDesk(state, plan, site_name),
        participant=Participant(state, plan, site_name),
        training=chosen,
        checkpoint=checkpoint,
    )


def _agree(plan: Plan, specs: Mapping[str, ModelSpec], labels: LabelSchema) -> None:
    if specs.get(plan.model.name) != plan.model:
        raise Conflict(
            f"this site does not run model {plan.model.name!r} as the plan describes it",
            "start the site with the model settings of the plan",
        )
    if labels != plan.labels:
        raise Conflict(
            f"this site labels {labels}, the plan labels {plan.labels}", "start the site with the labels of the plan"
        )
