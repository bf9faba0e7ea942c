"""What a structure is, in coded words (SNOMED CT and others), as Slicer keeps it with a segment.

A site may name codes per label: ``fedseg.codes`` of ``GET /info/`` maps a label to ``category`` and ``type`` and, if
needed, ``modifier`` and ``region``; each is ``[scheme, value, meaning]`` as in DICOM (PS3.3, code sequence macro).
"""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Fields

_CONTEXT = "Segmentation category and type - DICOM master list"
_ANATOMY = "Anatomic codes - DICOM master list"
_SEPARATORS = "~^"

Code = tuple[str, str, str]
NO_CODE: Code = ("", "", "")


@dataclass(frozen=True)
class Codes:
    """Category, type, type modifier and anatomic region; (scheme, value, meaning) each, empty where not told."""

    category: Code
    type: Code
    modifier: Code = NO_CODE
    region: Code = NO_CODE

    def terminology_entry(self) -> str:
        """As the value of a segment's ``TerminologyEntry`` tag (Slicer's vtkSlicerTerminologiesModuleLogic)."""
        shown = ["^".join(code) for code in (self.category, self.type, self.modifier, self.region, NO_CODE)]
        return "~".join([_CONTEXT, *shown[:3], _ANATOMY, *shown[3:]])


def codes(fields: Fields) -> Codes | None:
    """Parse one label's codes; None when category or type is missing or unusable: name and colour must do then."""
    category, kind = _code(fields, "category"), _code(fields, "type")
    if NO_CODE in (category, kind):
        return None
    return Codes(category, kind, _code(fields, "modifier"), _code(fields, "region"))


def _code(fields: Fields, key: str) -> Code:
    values = fields.raw(key)
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(value, str) for value in values):
        return NO_CODE
    if any(mark in value for value in values for mark in _SEPARATORS) or not values[1]:
        return NO_CODE
    return str(values[0]), str(values[1]), str(values[2])
