"""Which version serves, and which ones did: a pointer file, and the pointers before it.

``champion`` holds JSON ``{version, previous, reason, at}`` and is the truth. ``history.jsonl`` holds what it
was before, one line per change; it is written first, so that a full disk or kill -9 in between loses nothing
and shows no change that did not happen. Both are replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monailabel_app.errors import NotFound, StateError
from monailabel_app.state.files import write_atomic
from monailabel_app.state.records import VERSION_ID

__all__ = ["Champion"]

Change = dict[str, Any]


class Champion:
    """The champion of one model. Writers hold the store's lock; readers need none.

    Args:
        folder: of the model's versions.
        model: its name, for messages.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._model = model
        self._pointer = folder / "champion"
        self._past = folder / "history.jsonl"

    def exists(self) -> bool:
        """Whether anything was ever promoted."""
        return self._pointer.is_file()

    def record(self) -> Change:
        """``{version, previous, reason, at}`` of the last change.

        Raises:
            NotFound: nothing was promoted yet.
            StateError: the pointer is damaged.
        """
        try:
            found = _change(self._pointer.read_bytes())
        except FileNotFoundError:
            raise NotFound(f"model {self._model!r} has no version yet", "start the site with this model") from None
        except OSError:
            found = None
        if found is None:
            raise StateError(
                f"the champion pointer of {self._model!r} is damaged",
                "promote a version by hand: POST /versions/{id}/promote",
            )
        return found

    def replace(self, change: Change) -> None:
        """Let another version serve.

        Raises:
            StateError: the disk refuses; the champion is as it was.
        """
        past = self.history()
        if past:
            write_atomic(self._past, b"".join(json.dumps(entry).encode() + b"\n" for entry in past))
        write_atomic(self._pointer, json.dumps(change).encode())

    def history(self) -> Sequence[Change]:
        """All changes, oldest first, the one in force last; lines that cannot be read are left out."""
        try:
            current = [self.record()]  # before the past: a change in between is then missed, not torn
        except (NotFound, StateError):
            current = []
        try:
            lines = self._past.read_bytes().splitlines()
        except OSError:
            lines = []
        past = [entry for entry in map(_change, lines) if entry is not None]
        return past if past[-1:] == current else past + current


def _change(text: bytes) -> Change | None:
    try:
        found = json.loads(text)
        whole = VERSION_ID.match(found["version"]) and found.keys() >= {"previous", "reason", "at"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if whole else None
