"""Settings and consents in one JSON file that only its owner may read."""

from __future__ import annotations

import json
import os
from pathlib import Path


class FileStore:
    """FedSegLib's Store on disk.

    Args:
        path: the file; it is made when something is first kept. One that cannot be read counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = _read(path)

    def get(self, key: str) -> str | None:
        """The text kept under ``key``, or None."""
        return self._values.get(key)

    def set(self, key: str, value: str) -> None:
        """Keep a text."""
        self._values[key] = value
        self._write()

    def remove(self, key: str) -> None:
        """Forget a text."""
        if self._values.pop(key, None) is not None:
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        waiting = self._path.with_suffix(".new")
        descriptor = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._values, file, indent=1)
        waiting.replace(self._path)


def _read(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}
