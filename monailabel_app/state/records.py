"""What is known of a version: enough to make it again."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["VERSION_ID", "DataId", "NewVersion", "Origin", "Version"]

VERSION_ID = re.compile(r"^(?P<model>[a-z][a-z0-9_]{0,31})-(?P<number>\d{4,})-[0-9a-f]{6}$")
"""``<model>-<number>-<first digits of its SHA-256>``."""

Origin = Literal["base", "learning", "federation", "import"]


class DataId(BaseModel):
    """A correction that a version was trained on, by identifier and content.

    ``prompts_sha256`` is of the annotator's prompts that were trained on, empty where none were.
    """

    model_config = ConfigDict(frozen=True)

    correction: str
    image_sha256: str
    mask_sha256: str
    prompts_sha256: str = ""


class NewVersion(BaseModel):
    """What is known of a version when it is made; enough to make it again.

    Attributes:
        origin: ``base`` (the initial adapter), ``learning``, ``federation``, or ``import`` (from a file).
        parent: the champion it was made from; ``None`` for the initial adapter.
        base_sha256: digest of the frozen base that the tensors adapt.
        seed: seed of its training.
        settings: training settings, and for a federation its round and the payload's digest.
        data: corrections it was trained on at this site.
        metrics: figures of its training (final loss, seconds, steps).
        code_version: version of this program.
    """

    model_config = ConfigDict(frozen=True)

    origin: Origin
    parent: str | None = None
    base_sha256: str
    seed: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)
    data: tuple[DataId, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    code_version: str = ""


class Version(NewVersion):
    """A stored version: :class:`NewVersion` plus identity, time, and content.

    Attributes:
        corrections: number of the newest correction that the site had then; ``None`` where nobody noted it.
            Unlike ``created`` it cannot run backwards when the clock is set.
    """

    id: str
    model: str
    created: str
    corrections: int | None = None
    sha256: str
    bytes: int
