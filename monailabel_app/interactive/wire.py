"""The reply to an interactive request: the changed box only, byte by byte (docs/reference/interactive.md).

::

    offset  size  content
    0       4     magic b"FSM1"
    4       4     N, length of the header in bytes, unsigned, little endian
    8       N     header, JSON in UTF-8
    8 + N   ...   zlib stream (RFC 1950) of the box's voxels: one byte each, the label value, C order
                  of [i, j, k]; empty where the header's box is null
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from monailabel_app.errors import SiteError

__all__ = ["MAGIC", "MEDIA_TYPE", "decode_voxels", "pack", "read_runs", "runs_of", "squeeze", "unpack"]

MAGIC = b"FSM1"
MEDIA_TYPE = "application/x-fedseg-mask"
_HEAD = struct.Struct("<4sI")
_LEVEL = 1
"""zlib level: masks compress well at any, and 1 is the fastest."""

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def squeeze(voxels: Labels) -> bytes:
    """Voxels as a reply holds them, and the history keeps them."""
    return zlib.compress(np.ascontiguousarray(voxels).tobytes(), _LEVEL)


def pack(header: dict[str, Any], voxels: Labels | bytes | None) -> bytes:
    """Header and voxels of the changed box (or what :func:`squeeze` made of them) as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    body = b"" if voxels is None else voxels if isinstance(voxels, bytes) else squeeze(voxels)
    return _HEAD.pack(MAGIC, len(text)) + text + body


def unpack(data: bytes) -> tuple[dict[str, Any], Labels | None]:
    """The inverse of :func:`pack`.

    Raises:
        SiteError: the bytes are no reply, or their parts contradict each other.
    """
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise SiteError("the bytes are no interactive reply: the magic FSM1 is missing")
    (_, length) = _HEAD.unpack_from(data)
    header: dict[str, Any] = json.loads(data[_HEAD.size : _HEAD.size + length])
    if header.get("box") is None:
        return header, None
    shape = [b - a + 1 for a, b in zip(header["box"][:3], header["box"][3:], strict=True)]
    raw = zlib.decompress(data[_HEAD.size + length :])
    if len(raw) != int(np.prod(shape)):
        raise SiteError(f"the reply holds {len(raw)} voxels, its box {shape}")
    return header, np.frombuffer(raw, dtype=np.uint8).reshape(shape)


def runs_of(mask: Mask) -> list[int]:
    """A mask as [start, length, start, length, ...] over its C order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel().astype(np.int8), [0]])))
    return [int(v) for start, stop in edges.reshape(-1, 2) for v in (start, stop - start)]


def read_runs(runs: list[int], shape: tuple[int, int, int]) -> Mask:
    """The inverse of :func:`runs_of`.

    Raises:
        SiteError: an odd count, a run that is empty, out of order, or past the end.
    """
    size = int(np.prod(shape))
    flat = np.zeros(size, dtype=bool)
    if len(runs) % 2:
        raise SiteError(f"runs has {len(runs)} numbers", "send pairs: start, length, start, length, ...")
    end = 0
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        if start < end or length < 1 or start + length > size:
            raise SiteError(f"run ({start}, {length}) is out of order or outside the box of {size} voxels")
        end = start + length
        flat[start:end] = True
    return flat.reshape(shape)


def decode_voxels(box: tuple[int, ...], bits: str | None, runs: list[int] | None, limit: int) -> Mask:
    """A drawn mask within ``box`` (i0, j0, k0, i1, j1, k1; inclusive) from packed bits or runs.

    Args:
        box: where the mask lies.
        bits: base64 of numpy.packbits over the C order of [i, j, k], first voxel in the highest bit.
        runs: as :func:`runs_of`.
        limit: most voxels that a box may have.

    Raises:
        SiteError: the parts contradict each other.
    """
    shape = (box[3] - box[0] + 1, box[4] - box[1] + 1, box[5] - box[2] + 1)
    if min(shape) < 1 or shape[0] * shape[1] * shape[2] > limit:
        raise SiteError(f"the box {tuple(box)} is empty or larger than the image")
    if (bits is None) == (runs is None):
        raise SiteError("a drawn mask needs either bits or runs")
    if runs is not None:
        return read_runs(runs, shape)
    size = shape[0] * shape[1] * shape[2]
    try:
        raw = np.frombuffer(base64.b64decode(bits or "", validate=True), dtype=np.uint8)
    except ValueError:
        raise SiteError("bits is not base64") from None
    if raw.size != (size + 7) // 8:
        raise SiteError(f"bits holds {raw.size} bytes, the box of {size} voxels needs {(size + 7) // 8}")
    return np.unpackbits(raw, count=size).astype(bool).reshape(shape)
