"""Which labels of the schema somebody annotates: sites and annotators may leave some out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fed_backend.plan import LabelSchema
from monailabel_app.errors import LabelError

__all__ = ["chosen_labels", "of_values"]


def chosen_labels(names: Sequence[str] | None, labels: LabelSchema) -> LabelSchema:
    """The part of a schema that is annotated; all of it for ``None``.

    Raises:
        LabelError: a name that the schema does not have, or none at all.
    """
    if names is None:
        return dict(labels)
    if foreign := sorted(set(names) - labels.keys()):
        raise LabelError(f"label {foreign[0][:80]!r} is not in the schema", f"choose from {', '.join(labels)}")
    if not names:
        raise LabelError("no label is annotated", f"name at least one of {', '.join(labels)}, or leave it out for all")
    return {name: value for name, value in labels.items() if name in names}


def of_values(labels: Mapping[str, int], annotated: frozenset[int] | None) -> dict[str, int]:
    """The part of a schema whose voxel values are annotated; all of it for ``None``."""
    return {name: value for name, value in labels.items() if annotated is None or value in annotated}
