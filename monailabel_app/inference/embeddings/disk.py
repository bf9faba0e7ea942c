"""Features on disk: one file per slice and layer, memory-mapped, bounded in bytes.

::

    <folder>/<first 32 digits of the image's sha256>/<sha256 of the key>.emb

    offset  size  content (little endian)
    0       8     magic b"FSEMB\\x01\\r\\n"
    8       4     number type: 1 = float16, 2 = float32, 3 = bfloat16 (as 16 bit integers)
    12      4     number of axes n, 1..4
    16      16    four axis lengths, unused ones 1
    32      8     bytes of the numbers
    40      4     CRC-32 of the numbers
    44      20    zero
    64      ...   the numbers, C order

A file is written under a temporary name and renamed, so kill -9 leaves whole files and temporaries,
which the next opening deletes. Nothing is flushed to the disk: features can be computed again, and
what a power cut tore fails the length or the CRC and is deleted when it is read. Recency is the
file's modification time. Several processes may use one folder: a file that another one evicted
counts as missing, and a mapped file stays readable after it was unlinked.
"""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import struct
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monailabel_app.models.encoder import compact as compacted
from monailabel_app.state.files import TEMPORARY, file_errors

__all__ = ["DiskStore"]

_MAGIC = b"FSEMB\x01\r\n"
_HEADER = struct.Struct("<8sII4IQI20x")
_KINDS: dict[int, torch.dtype] = {1: torch.float16, 2: torch.float32, 3: torch.bfloat16}
_CODES = {kind: code for code, kind in _KINDS.items()}
_SUFFIX = ".emb"
_RECOUNT = 200
"""After so many files the folder is listed again: another process may write there too."""
_STALE_S = 600.0
"""A temporary older than this belongs to nobody: writing one takes milliseconds."""


class DiskStore:
    """Features by (image, key digest).

    Args:
        folder: created when absent, readable by the owner only: features tell about images.
        limit: bytes of all files; the ones used longest ago go first.

    Raises:
        StateError: the folder cannot be made or listed.
    """

    def __init__(self, folder: Path, limit: int = 4 * 2**30) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._sizes: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._bytes = 0
        self._puts = 0
        with file_errors("the folder of embeddings"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._scan()
        with self._lock:
            self._shrink()

    @property
    def nbytes(self) -> int:
        """Bytes of all files known."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._sizes)

    def has(self, image: str, digest: str) -> bool:
        """Whether the features are there, without reading them."""
        with self._lock:
            if (image[:32], digest) in self._sizes:
                return True
        return self._path(image, digest).is_file()

    def get(self, image: str, digest: str) -> Tensor | None:
        """The features, mapped from the file (read only), or ``None``; a damaged file is deleted."""
        path = self._path(image, digest)
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError):  # missing, or empty
            self._drop(image, digest, unlink=path.exists())
            return None
        features = _decoded(data)
        if features is None:
            self._drop(image, digest, unlink=True)
            return None
        self._used(image, digest, len(data))
        return features

    def put(self, image: str, digest: str, features: Tensor, *, compact: bool = False) -> None:
        """Store features; a full disk is no error, they are then simply not kept.

        Args:
            image: sha256 of the image.
            digest: of the key.
            features: float16, float32 or bfloat16.
            compact: keep float32 as float16, where nothing is beyond its 65504.
        """
        path = self._path(image, digest)
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        parts = _encoded(compacted(features) if compact else features)
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(parts)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        self._used(image, digest, sum(map(len, parts)))
        self._puts += 1
        if self._puts % _RECOUNT == 0:
            self._recount()

    def forget(self, image: str) -> None:
        """Delete all features of an image, for instance because the image was deleted."""
        with self._lock:
            shutil.rmtree(self._folder / image[:32], ignore_errors=True)
            for key in [key for key in self._sizes if key[0] == image[:32]]:
                self._bytes -= self._sizes.pop(key)

    def _path(self, image: str, digest: str) -> Path:
        return self._folder / image[:32] / f"{digest}{_SUFFIX}"

    def _scan(self) -> None:
        """Learn what is there, oldest first; delete what interrupted writers left."""
        found: list[tuple[float, tuple[str, str], int]] = []
        for folder in [entry for entry in self._folder.iterdir() if entry.is_dir()]:
            with suppress(OSError):  # another process may evict meanwhile
                found += list(_files(folder))
        for _, key, size in sorted(found):
            self._sizes[key] = size
            self._bytes += size

    def _recount(self) -> None:
        with self._lock, suppress(OSError):
            self._sizes.clear()
            self._bytes = 0
            self._scan()
            self._shrink()

    def _used(self, image: str, digest: str, size: int) -> None:
        key = (image[:32], digest)
        with suppress(OSError):
            os.utime(self._path(image, digest))
        with self._lock:
            self._bytes += size - self._sizes.pop(key, 0)
            self._sizes[key] = size
            self._shrink()

    def _drop(self, image: str, digest: str, *, unlink: bool) -> None:
        if unlink:
            with suppress(OSError):
                self._path(image, digest).unlink(missing_ok=True)
        with self._lock:
            self._bytes -= self._sizes.pop((image[:32], digest), 0)

    def _shrink(self) -> None:
        """Delete the oldest files until the limit holds; the caller holds the lock."""
        while self._bytes > self._limit and len(self._sizes) > 1:
            (image, digest), size = self._sizes.popitem(last=False)
            self._bytes -= size
            path = self._path(image, digest)
            with suppress(OSError):
                path.unlink(missing_ok=True)
                path.parent.rmdir()  # only when it was the last one


def _files(folder: Path) -> Iterator[tuple[float, tuple[str, str], int]]:
    """(modification time, key, size) of the features in one folder; old temporaries are deleted."""
    for entry in os.scandir(folder):
        with suppress(OSError):
            status = entry.stat()
            if entry.name.startswith(TEMPORARY):
                if time.time() - status.st_mtime > _STALE_S:
                    os.unlink(entry.path)
            elif entry.name.endswith(_SUFFIX):
                yield status.st_mtime, (folder.name, entry.name.removesuffix(_SUFFIX)), status.st_size


def _encoded(features: Tensor) -> tuple[bytes, bytes]:
    values = features.detach().cpu().contiguous()
    raw = values.view(torch.uint8).numpy().tobytes() if values.ndim else b""
    lengths = (*values.shape, *([1] * (4 - values.ndim)))
    head = _HEADER.pack(_MAGIC, _CODES[values.dtype], values.ndim, *lengths, len(raw), zlib.crc32(raw))
    return head, raw


def _decoded(data: mmap.mmap) -> Tensor | None:
    if len(data) < _HEADER.size:
        return None
    magic, code, axes, *rest = _HEADER.unpack_from(data)
    lengths, (size, crc) = rest[:4], rest[4:]
    kind = _KINDS.get(code)
    if magic != _MAGIC or kind is None or not 1 <= axes <= 4 or len(data) != _HEADER.size + size:
        return None
    raw = np.frombuffer(data, dtype=np.uint8, offset=_HEADER.size)
    if zlib.crc32(raw.data) != crc or size != int(np.prod(lengths)) * kind.itemsize:
        return None
    return torch.from_numpy(raw).view(kind).reshape(lengths[:axes])
