"""Image files written and read without Slicer, numpy only: an independent judge of what the module does with voxels.

Arrays are [i, j, k]; affines are 4x4 voxel -> RAS millimetres.
"""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np

_NRRD_TYPES = {
    "uint8": "u1",
    "unsigned char": "u1",
    "uchar": "u1",
    "short": "<i2",
    "int16": "<i2",
    "unsigned short": "<u2",
    "int": "<i4",
}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nrrd(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], space: str = "right-anterior-superior") -> bytes:
    """A gzip-compressed NRRD file."""
    frame = _LPS @ affine if space == "left-posterior-superior" else affine
    kind = {"uint8": "uint8", "int16": "int16"}[array.dtype.name]
    directions = " ".join(_vector(frame[:3, axis]) for axis in range(3))
    header = (
        f"NRRD0004\ntype: {kind}\ndimension: 3\nspace: {space}\nsizes: {' '.join(map(str, array.shape))}\n"
        f"space directions: {directions}\nkinds: domain domain domain\nendian: little\nencoding: gzip\n"
        f"space origin: {_vector(frame[:3, 3])}\n\n"
    )
    return header.encode() + gzip.compress(array.astype(array.dtype.newbyteorder("<")).tobytes(order="F"), 1)


def _vector(values: np.ndarray[Any, Any]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def read_nrrd(content: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Voxels and affine of a NRRD file, gzip or raw."""
    head, _, data = content.partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line and line[0] != "#")
    shape = tuple(int(n) for n in fields["sizes"].split())
    raw = gzip.decompress(data) if fields["encoding"].startswith("gz") else data
    array = np.frombuffer(raw, _NRRD_TYPES[fields["type"]]).reshape(shape, order="F")
    columns = [[float(x) for x in text.strip("()").split(",")] for text in fields["space directions"].split()]
    frame = np.eye(4)
    frame[:3, :3] = np.array(columns).T
    frame[:3, 3] = [float(x) for x in fields["space origin"].strip("()").split(",")]
    return array, _LPS @ frame if fields["space"] == "left-posterior-superior" else frame


def nifti(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> bytes:
    """A compressed NIfTI-1 file whose positions are in its sform."""
    code, bits = {"uint8": (2, 8), "int16": (4, 16)}[array.dtype.name]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352.0)
    struct.pack_into("<f", header, 112, 1.0)
    header[123] = 2  # millimetres
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + array.astype(array.dtype.newbyteorder("<")).tobytes(order="F"), 1)


def read_nifti(content: bytes) -> np.ndarray[Any, Any]:
    """Voxels of a NIfTI-1 file."""
    raw = gzip.decompress(content)
    shape = struct.unpack_from("<8h", raw, 40)[1:4]
    kind = {2: "u1", 4: "<i2", 512: "<u2", 8: "<i4"}[struct.unpack_from("<h", raw, 70)[0]]
    start = int(struct.unpack_from("<f", raw, 108)[0])
    return np.frombuffer(raw, kind, offset=start, count=int(np.prod(shape))).reshape(shape, order="F")
