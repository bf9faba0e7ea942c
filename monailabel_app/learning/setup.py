"""What the learner process is told at its start: one line of JSON on its standard input."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fed_backend.plan import LabelSchema, ModelSpec, Plan, TrainingSpec

__all__ = ["LearnerSetup"]


class LearnerSetup(BaseModel):
    """Settings of one learner process.

    Attributes:
        site_name: the site's name in a federation; mixed into seeds.
        studies: folder of the images.
        specs: model name -> how it is built and adapted.
        labels: label name -> voxel value.
        training: how corrections are learned.
        plan: the federation's plan, if any.
        checkpoint: base checkpoint of a SAM model.
        threads: torch threads.
        niceness: added to the server's, so that interaction goes first.
    """

    model_config = ConfigDict(frozen=True)

    site_name: str
    studies: Path
    specs: dict[str, ModelSpec]
    labels: LabelSchema
    training: TrainingSpec = TrainingSpec()
    plan: Plan | None = None
    checkpoint: Path | None = None
    threads: int = 1
    niceness: int = 10
