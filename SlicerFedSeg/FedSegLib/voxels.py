"""Image and mask files read and written with numpy alone, so that a worker can do it while the panel stays alive.

Read are the plain cases of NIfTI-1 and NRRD, which is what sites serve: three dimensions, one number per voxel, one
statement of where the voxels lie. Anything else (other formats, two statements that disagree, sheared axes, scaled
values, other units) is None: Slicer's own readers, on the GUI thread, decide about it. Decompressing and copying give
Python's lock away.

Arrays are [k, j, i]; affines voxel (i, j, k) -> RAS millimetres. Formats: nifti.nimh.nih.gov/nifti-1 and
teem.sourceforge.net/nrrd.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .grid import Array, Grid

_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_NRRD_TYPES = {
    "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "uint8_t": "u1",
    "signed char": "i1", "int8": "i1", "int8_t": "i1",
    "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2", "int16_t": "i2",
    "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2", "uint16_t": "u2",
    "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4",
    "float": "f4", "double": "f8",
}  # fmt: skip
_NRRD_NAMES = {"float32": "float", "float64": "double"}
_TO_RAS = {
    "right-anterior-superior": (1.0, 1.0),
    "ras": (1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0),
    "lps": (-1.0, -1.0),
}
_HEADER_BYTES = 352
_CLOSE = 1e-3


@dataclass(frozen=True)
class Voxels:
    """A volume: ``array`` [k, j, i] in this computer's byte order, and where it lies."""

    array: Array
    grid: Grid


def read_voxels(path: Path) -> Voxels | None:
    """The volume in a file, by its suffix; None when Slicer's own readers should look at it."""
    return parse_voxels(path.read_bytes(), path.name)


def parse_voxels(content: bytes, name: str) -> Voxels | None:
    """As :func:`read_voxels`, of a file in memory; only the suffix of ``name`` matters."""
    lower = name.lower()
    try:
        if lower.endswith(".nii.gz"):
            return _nifti(gzip.decompress(content))
        if lower.endswith(".nii"):
            return _nifti(content)
        if lower.endswith(".nrrd"):
            return _nrrd(content)
    except (ValueError, KeyError, IndexError, struct.error, zlib.error, OSError, EOFError):
        return None  # broken or unusual: Slicer's reader says what is wrong with it
    return None


def _nifti(data: bytes) -> Voxels | None:
    order = "<" if data[:4] == struct.pack("<i", 348) else ">"
    if struct.unpack_from(f"{order}i", data)[0] != 348 or data[344:348] != b"n+1\0":
        return None
    dimensions = struct.unpack_from(f"{order}8h", data, 40)
    kind = _NIFTI_TYPES.get(struct.unpack_from(f"{order}h", data, 70)[0])
    spacing = struct.unpack_from(f"{order}8f", data, 76)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", data, 108)
    plain = slope in (0.0, 1.0) and intercept == 0.0 and data[123] & 7 in (0, 2)
    flat = dimensions[0] == 3 or (dimensions[0] > 3 and set(dimensions[4 : dimensions[0] + 1]) == {1})
    affine = _nifti_affine(data, order, spacing)
    if kind is None or not plain or not flat or affine is None:
        return None
    i, j, k = dimensions[1:4]
    return _volume(data, order + kind, int(offset), (i, j, k), affine)


def _nifti_affine(data: bytes, order: str, spacing: tuple[float, ...]) -> Array | None:
    """Where the voxels lie, if the header says it in one way only."""
    has_q, has_s = (code > 0 for code in struct.unpack_from(f"{order}2h", data, 252))
    by_rows = np.eye(4)
    by_rows[:3] = np.reshape(struct.unpack_from(f"{order}12f", data, 280), (3, 4))
    by_turn = _turned(struct.unpack_from(f"{order}6f", data, 256), spacing)
    if has_s and not (has_q and not np.allclose(by_rows, by_turn, rtol=0, atol=_CLOSE)):
        lengths = np.linalg.norm(by_rows[:3, :3], axis=0)
        axes = by_rows[:3, :3] / lengths
        square = np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=1e-4)
        return by_rows if square and np.allclose(lengths, spacing[1:4], rtol=1e-4) else None
    return by_turn if has_q and not has_s else None


def _turned(values: tuple[float, ...], spacing: tuple[float, ...]) -> Array:
    """The affine of a unit quaternion (b, c, d), an offset and the spacings (NIfTI-1, method 2)."""
    b, c, d = values[:3]
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * (spacing[1], spacing[2], spacing[3] * (-1.0 if spacing[0] < 0 else 1.0))
    affine[:3, 3] = values[3:]
    return affine


def _nrrd(content: bytes) -> Voxels | None:
    ends = [(at, len(mark)) for mark in (b"\n\n", b"\r\n\r\n") if (at := content.find(mark, 0, 1 << 16)) > 0]
    if content[:7] != b"NRRD000" or not ends:
        return None
    end, gap = min(ends)
    lines = [line for line in content[:end].decode("ascii").splitlines()[1:] if line[:1] != "#" and ":=" not in line]
    fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    kinds = set(fields.get("kinds", "domain").split())
    if fields["dimension"] != "3" or not kinds <= {"domain", "space"} or fields.keys() & {"data file", "byte skip"}:
        return None
    turn = _TO_RAS[fields["space"].lower()]
    affine = np.eye(4)
    affine[:3, :3] = np.array([_vector(text) for text in fields["space directions"].split()]).T
    affine[:3, 3] = _vector(fields["space origin"])
    affine[:2] *= np.reshape(turn, (2, 1))
    i, j, k = (int(size) for size in fields["sizes"].split())
    packed = fields["encoding"].lower() in ("gzip", "gz")
    if not packed and fields["encoding"].lower() != "raw":
        return None
    data = gzip.decompress(content[end + gap :]) if packed else content
    order = ">" if fields.get("endian", "little") == "big" else "<"
    return _volume(data, order + _NRRD_TYPES[fields["type"].lower()], 0 if packed else end + gap, (i, j, k), affine)


def _vector(text: str) -> list[float]:
    return [float(value) for value in text.strip("()").split(",")]


def _volume(data: bytes, kind: str, offset: int, shape: tuple[int, int, int], affine: Array) -> Voxels | None:
    if min(shape) < 1 or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        return None
    flat = np.frombuffer(data, np.dtype(kind), count=math.prod(shape), offset=offset)
    native = flat.astype(flat.dtype.newbyteorder("="))  # a copy of its own: bytes cannot be written to
    return Voxels(native.reshape(shape[::-1]), Grid(shape, affine))


def mask_file(labels: Array, affine: Array, suffix: str) -> bytes:
    """A file of whole numbers [k, j, i], quickly compressed: .nii.gz, otherwise NRRD."""
    kind = labels.dtype.newbyteorder("<")
    voxels = np.ascontiguousarray(labels, dtype=kind).tobytes()
    if suffix == ".nii.gz":
        return gzip.compress(_nifti_header(labels, affine) + voxels, 1)
    return _nrrd_header(labels, affine) + gzip.compress(voxels, 1)


def image_file(voxels: Voxels) -> bytes:
    """An uncompressed NRRD file: noise does not compress, and loopback is quick."""
    array = voxels.array
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return _nrrd_header(array, voxels.grid.affine, "raw") + plain.tobytes()


def _nrrd_header(labels: Array, affine: Array, encoding: str = "gzip") -> bytes:
    frame = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    columns = [",".join(repr(float(x)) for x in frame[:3, at]) for at in range(4)]
    lines = (
        "NRRD0004",
        f"type: {_NRRD_NAMES.get(labels.dtype.name, labels.dtype.name)}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(size) for size in reversed(labels.shape))}",
        f"space directions: {' '.join(f'({column})' for column in columns[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: ({columns[3]})",
    )
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _nifti_header(labels: Array, affine: Array) -> bytes:
    code = next(number for number, kind in _NIFTI_TYPES.items() if kind == labels.dtype.str[1:])
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *reversed(labels.shape), 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * labels.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1.0, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0)
    struct.pack_into("<2f", header, 108, float(_HEADER_BYTES), 1.0)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *np.asarray(affine, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)
