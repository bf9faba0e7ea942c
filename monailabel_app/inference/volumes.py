"""The last few volumes that were read, so that a click does not read its image again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.volume import Volume

__all__ = ["VolumeCache"]

_Key = tuple[str, int, int]


class VolumeCache:
    """Volumes by file, modification time and size; a file that changed is read again.

    Args:
        limit_bytes: voxels kept in all; one volume is kept whatever its size.
    """

    def __init__(self, limit_bytes: int = 512 * 2**20) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._volumes: OrderedDict[_Key, Volume] = OrderedDict()

    def read(self, path: Path) -> Volume:
        """The volume in ``path``. Two threads may read the same file once each.

        Raises:
            ImageError: it cannot be read.
        """
        key = _key(path)
        with self._lock:
            if key in self._volumes:
                self._volumes.move_to_end(key)
                return self._volumes[key]
        volume = read_volume(path)
        with self._lock:
            self._volumes[key] = volume
            total = sum(v.array.nbytes for v in self._volumes.values())
            while total > self._limit and len(self._volumes) > 1:
                total -= self._volumes.popitem(last=False)[1].array.nbytes
        return volume


def _key(path: Path) -> _Key:
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0  # read_volume says what is wrong
    return str(path), status.st_mtime_ns, status.st_size
