"""What the rest of the site knows of a model: one interface for ``unet`` and ``sam``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fed_backend.payload import Tensors
from fed_backend.plan import ModelSpec
from monailabel_app.imaging.volume import Volume

__all__ = [
    "Answer",
    "Case",
    "Cases",
    "GivenPrompts",
    "Labelmap",
    "Objective",
    "Progress",
    "Prompts",
    "Segmenter",
    "no_progress",
]

Labelmap = npt.NDArray[np.uint8]
"""[i, j, k] voxel labels of the image's own grid; 0 is background."""


@dataclass(frozen=True)
class Prompts:
    """Prompts for one label, in voxel indices (i, j, k) of the original image.

    Attributes:
        label: name in the label schema.
        foreground: voxels inside the structure.
        background: voxels outside it.
        box: (i0, j0, k0, i1, j1, k1), inclusive corners on one slice; ``None`` without a box.
    """

    label: str
    foreground: Sequence[tuple[int, int, int]] = ()
    background: Sequence[tuple[int, int, int]] = ()
    box: tuple[int, int, int, int, int, int] | None = None


@dataclass(frozen=True)
class GivenPrompts(Prompts):
    """Prompts that an annotator gave on the way to a correction, and stood by.

    Attributes:
        axis: volume axis that the slices were across; ``None`` for those that the model takes.
        replace: whether they take the place of earlier ones of their label on their slices.
    """

    axis: int | None = None
    replace: bool = False


class Case(NamedTuple):
    """An image with the labels that somebody drew, to learn from or to be judged by.

    Attributes:
        volume: the image.
        labels: in its own grid.
        annotated: voxel values of the labels that were annotated; ``None`` for all of the schema. Of the
            others nothing is known: a voxel without an annotated label may be background or any of them.
        prompts: what the annotator clicked on the way, oldest first.
    """

    volume: Volume
    labels: Labelmap
    annotated: frozenset[int] | None = None
    prompts: tuple[GivenPrompts, ...] = ()


Cases = Sequence[Case | tuple[Volume, Labelmap]]
"""Cases; a plain pair is annotated with all labels."""

Progress = Callable[[float], None]
"""Called with the finished share, 0..1; raises ``Cancelled`` to stop the work."""


def no_progress(share: float) -> None:
    """A progress callback for callers that do not watch."""


@dataclass(frozen=True)
class Answer:
    """Which model answered for an image.

    Attributes:
        model: ``personal`` or ``global``.
        confidence: share of the class that the selector thinks likeliest, 0..1.
        likeliest: that class, a place in the plan's list of sites.
    """

    model: str
    confidence: float
    likeliest: int


class Objective(Protocol):
    """What a training step minimises, in parts, so that two models can be compared on one batch.

    Calling it draws a batch and returns its loss. Its seed decides about all batches.
    """

    def __call__(self) -> Any:
        """The loss of a new batch."""
        ...

    def draw(self) -> Any:
        """A new batch; opaque."""
        ...

    def logits(self, batch: Any) -> Any:
        """What the network says of a batch: [b, classes, ...], or [b, ...] of single masks."""
        ...

    def loss(self, logits: Any, batch: Any) -> Any:
        """The segmentation loss, a scalar."""
        ...

    def classes(self, logits: Any) -> Any:
        """The logits as [b, classes, ...], background first."""
        ...

    def truth(self, logits: Any, batch: Any) -> Any:
        """The true class of every pixel of :meth:`classes`, integer [b, ...]."""
        ...


class Segmenter(Protocol):
    """A frozen base with a trainable adapter. Not thread-safe: the caller locks."""

    spec: ModelSpec
    labels: Mapping[str, int]
    base_sha256: str

    def adapter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every adapter tensor that may travel (the plan's layout)."""
        ...

    def adapter(self) -> Tensors:
        """A copy of the adapter, float32, with exactly the names of :meth:`adapter_shapes`
        plus those that stay at the site."""
        ...

    def load_adapter(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace adapter tensors by name; names that are absent keep their values.

        Raises:
            AdapterError: an unknown name, a wrong shape, or a value that is not finite; the
                adapter is then as it was.
        """
        ...

    def segment(self, volume: Volume, progress: Progress = no_progress) -> Labelmap:
        """Automatic mask of a whole volume, in the volume's own grid."""
        ...

    def prompt(self, volume: Volume, prompts: Sequence[Prompts]) -> Labelmap:
        """Mask from prompts: zero but on the prompted slices.

        Raises:
            SiteError: the model takes no prompts, or a prompt lies outside the volume.
        """
        ...

    def train_steps(
        self,
        cases: Cases,
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        proximal: float,
        seed: int,
    ) -> Iterator[float]:
        """Fine-tune the adapter in place; yields the loss after each step."""
        ...

    def objective(self, cases: Cases, *, batch_size: int, seed: int) -> Objective:
        """What :meth:`train_steps` minimises."""
        ...

    @property
    def network(self) -> Any:
        """The network, base and adapter (``torch.nn.Module``)."""
        ...

    @property
    def trainable(self) -> Any:
        """The adapter's own tensors (:class:`monailabel_app.models.adapter.Adapter`)."""
        ...
