"""The models of a site: a dictionary of builders, no class scanning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fed_backend.plan import LabelSchema, ModelSpec
from monailabel_app.errors import NotFound
from monailabel_app.models.base import Segmenter

__all__ = ["BUILDERS", "build_segmenter", "default_spec"]


def _unet(spec: ModelSpec, labels: LabelSchema, checkpoint: Path | None) -> Segmenter:
    from monailabel_app.models.unet import UNetSegmenter  # torch and monai take seconds to import

    return UNetSegmenter(spec, labels)


def _sam(spec: ModelSpec, labels: LabelSchema, checkpoint: Path | None) -> Segmenter:
    from monailabel_app.models.sam import SamSegmenter

    return SamSegmenter(spec, labels, checkpoint)


BUILDERS: dict[str, Callable[[ModelSpec, LabelSchema, Path | None], Segmenter]] = {"unet": _unet, "sam": _sam}
"""Model name -> builder."""

_DEFAULTS = {
    "unet": ModelSpec(),
    # the last three blocks only: half the backward pass, and the first three never change
    "sam": ModelSpec(name="sam", base="sam_tiny", image_size=256, lora_blocks=3),
}


def build_segmenter(spec: ModelSpec, labels: LabelSchema, *, checkpoint: Path | None = None) -> Segmenter:
    """Build a model with its initial adapter A^0, which equal specs share at every site.

    Args:
        spec: base, adapter and input size.
        labels: label name -> voxel value.
        checkpoint: weights of ``sam_vit_b`` or ``medsam``; the other bases need none.

    Raises:
        NotFound: no builder of that name.
        Unavailable: the base needs a checkpoint that is not there.
    """
    builder = BUILDERS.get(spec.name)
    if builder is None:
        raise NotFound(f"there is no model {spec.name!r}", f"choose {' or '.join(BUILDERS)}")
    return builder(spec, labels, checkpoint)


def default_spec(name: str) -> ModelSpec:
    """The settings a model runs with when no plan says otherwise.

    Raises:
        NotFound: no model of that name.
    """
    if name not in _DEFAULTS:
        raise NotFound(f"there is no model {name!r}", f"choose {' or '.join(_DEFAULTS)}")
    return _DEFAULTS[name]
