"""Volumes to try the module with, made by a generator (no patient's), and the checksums that they must have."""

from __future__ import annotations

from dataclasses import dataclass

CATEGORY = "FedSeg"
RELEASE = "https://github.com/SlicerFedSeg/SlicerFedSeg/releases/download/sample-data-1"


@dataclass(frozen=True)
class Sample:
    """One sample: its name in Slicer, its file in the release, and the file's SHA-256."""

    name: str
    file: str
    sha256: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{RELEASE}/{self.file}"

    @property
    def checksum(self) -> str:
        """As Slicer's SampleData module checks it."""
        return f"SHA256:{self.sha256}"


SAMPLES = (
    Sample("FedSegLesion1", "fedseg-lesion-1.nrrd", "4d9eeca0371e4dab5dbff46f283738805d701d6828aa0d72cacb23d4d90b0e68"),
    Sample("FedSegLesion2", "fedseg-lesion-2.nrrd", "ee03fed53c9c0f1efb12e2d547681c2e8be632a602e86a528b84f39394aee868"),
)
