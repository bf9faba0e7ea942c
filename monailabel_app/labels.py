"""Labels of the schema: which of them somebody annotates, and what they are in coded words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from fed_backend.plan import LabelSchema
from monailabel_app.errors import LabelError

__all__ = ["LabelCodes", "chosen_labels", "of_values", "read_codes"]

_Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^~^\x00-\x1f]+$")]
Code = tuple[_Word, _Word, _Word]
"""Scheme, value and meaning, as in DICOM's code sequence macro (PS3.3, 8.8): ``("SCT", "108369006", "Tumor")``."""


class LabelCodes(BaseModel):
    """What a label is, as Slicer's terminologies say it.

    Attributes:
        category: such as a morphologically altered structure.
        type: such as a tumour.
        modifier: of the type, such as left.
        region: anatomic region.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None


_CODES = TypeAdapter(dict[str, LabelCodes])


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


def read_codes(path: Path, labels: LabelSchema) -> dict[str, dict[str, Any]]:
    """Label -> its codes as JSON values, from a file ``{"tumour": {"category": [...], "type": [...]}}``.

    Raises:
        LabelError: the file cannot be read, or codes what the schema does not have.
    """
    hint = 'write {"tumour": {"category": [scheme, value, meaning], "type": [scheme, value, meaning]}}'
    try:
        found = _CODES.validate_json(path.read_bytes())
    except OSError as error:
        raise LabelError(f"codes file {path.name!r} cannot be read: {error.strerror}", "check --codes") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(map(str, first["loc"])) or "the file"
        raise LabelError(f"codes file {path.name!r}: {where}: {first['msg']}", hint) from None
    chosen_labels(list(found) or None, labels)
    return {name: codes.model_dump(mode="json", exclude_none=True) for name, codes in found.items()}
