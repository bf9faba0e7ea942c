"""Tensors in a safetensors file, in memory or on a disk, read one at a time.

A payload may have hundreds of megabytes, and a hub gets one from every site: what lies on a disk is
read tensor by tensor, so that memory depends on neither.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import deserialize, safe_open

from fed_backend.errors import PayloadError

__all__ = ["MAX_HEADER", "Data", "digest", "front", "head", "joined", "opened", "retitled", "shapes", "size", "whole"]

Data = bytes | Path
"""A payload: its bytes, or the file that holds them."""

Array = npt.NDArray[Any]
MAX_HEADER = 8 * 2**20
"""Longest header that is read, bytes."""
_METADATA = "__metadata__"
_PART = 2**20
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
}


def size(data: Data) -> int:
    """Length in bytes."""
    return data.stat().st_size if isinstance(data, Path) else len(data)


def whole(data: Data) -> bytes:
    """All bytes, in memory."""
    return data.read_bytes() if isinstance(data, Path) else data


def digest(data: Data) -> str:
    """SHA-256, in hexadecimal digits; a file is read piece by piece."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with open(data, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def head(data: Data) -> bytes:
    """The JSON of the header.

    Raises:
        PayloadError: the bytes are no safetensors file.
    """
    hint = "the sender must use a matching version of fedseg"
    if isinstance(data, Path):
        with open(data, "rb") as file:
            start = file.read(8)
            start += file.read(min(struct.unpack("<Q", start)[0], MAX_HEADER)) if len(start) == 8 else b""
    else:
        start = data
    if len(start) < 8:
        raise PayloadError(f"payload of {len(start)} bytes is too short to be a safetensors file", hint)
    (length,) = struct.unpack("<Q", start[:8])
    if length > min(MAX_HEADER, size(data) - 8):
        raise PayloadError(f"payload announces a header of {length} bytes, more than it holds", hint)
    return start[8 : 8 + length]


def shapes(data: Data) -> dict[str, tuple[int, ...]]:
    """Name -> shape as the header says, which :func:`opened` checks: what is refused for them need not be decoded.

    Raises:
        PayloadError: the bytes are no safetensors file.
        ValueError: the header is no JSON, or an entry has no shape.
    """
    entries = json.loads(head(data))
    try:
        return {name: tuple(entry["shape"]) for name, entry in entries.items() if name != _METADATA}
    except (AttributeError, KeyError, TypeError):
        raise ValueError("a tensor without a shape") from None


def front(data: Data) -> bytes:
    """All bytes before those of the tensors.

    Raises:
        PayloadError: the bytes are no safetensors file.
    """
    header = head(data)
    return struct.pack("<Q", len(header)) + header


def retitled(data: Data, metadata: Mapping[str, str]) -> bytes:
    """:func:`front` of a file with the same tensors and other metadata, as the library would write it.

    Raises:
        PayloadError: the bytes are no safetensors file.
    """
    entries = {name: entry for name, entry in json.loads(head(data)).items() if name != _METADATA}
    text = json.dumps({_METADATA: metadata, **entries}, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def joined(start: bytes, other: Path, path: Path) -> str:
    """Write a file that begins with ``start`` and goes on with the tensors of another one; its SHA-256.

    Raises:
        PayloadError: the other is no safetensors file.
        OSError: one cannot be read, or the disk refuses.
    """
    hasher = hashlib.sha256(start)
    with open(other, "rb") as source, open(path, "wb") as file:
        source.seek(len(front(other)))
        file.write(start)
        while part := source.read(_PART):
            hasher.update(part)
            file.write(part)
    return hasher.hexdigest()


@contextmanager
def opened(data: Data) -> Iterator[Mapping[str, Array]]:
    """Name -> tensor as float32, each read when it is asked for.

    Raises:
        SafetensorError: malformed.
        OSError: the file cannot be read.
    """
    if isinstance(data, bytes):
        yield _InMemory(data)
        return
    with safe_open(data, framework="numpy", backend="pread") as file:
        yield _OnDisk(file)


class _InMemory(Mapping[str, Array]):
    def __init__(self, data: bytes) -> None:
        self._entries: dict[str, dict[str, Any]] = dict(deserialize(data))  # type: ignore[no-untyped-call]

    def __getitem__(self, name: str) -> Array:
        entry = self._entries[name]
        raw = np.frombuffer(entry["data"], dtype=_dtype(name, entry["dtype"])).reshape(entry["shape"])
        return raw.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class _OnDisk(Mapping[str, Array]):
    def __init__(self, file: Any) -> None:
        self._file, self._names = file, list(file.keys())

    def __getitem__(self, name: str) -> Array:
        _dtype(name, str(self._file.get_slice(name).get_dtype()))
        return np.asarray(self._file.get_tensor(name), dtype=np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _dtype(name: str, kind: str) -> np.dtype[Any]:
    if (dtype := _DTYPES.get(kind)) is None:
        raise PayloadError(f"tensor {name!r} has dtype {kind}", "payloads hold float32, float16 or int8")
    return dtype
