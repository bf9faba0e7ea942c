"""What a site trains in a federation and keeps: the tensors that its method never lets travel.

The gate may refuse a round, and the version that serves is then an older one; the local part goes on
from where the last round left it all the same. One file per trained round, numbered, in a folder per
plan; the newest few are kept. A round that is trained again (its job was killed) starts from the
local part of the round before it, so the same request gives the same bytes.
"""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from fed_backend.payload import Tensors
from monailabel_app.errors import StateError
from monailabel_app.state.files import clean_temporaries, file_errors, write_atomic

__all__ = ["LocalPart"]

_KEEP = 4
_NAME = re.compile(r"^\d{8}\.safetensors$")


class LocalPart:
    """The local tensors of one plan at one site, by round.

    Args:
        folder: where they are kept, created when absent; only the learner writes there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with file_errors("the local part of a federation"):
            folder.mkdir(parents=True, exist_ok=True)
            clean_temporaries(folder)

    def before(self, run: str, round_: int) -> Tensors:
        """Where training for a round starts: the local part after the latest other round; empty without any."""
        return self._newest(other_than=_key(run, round_))

    def latest(self) -> Tensors:
        """The local part after the round trained last; empty without any."""
        return self._newest()

    def keep(self, run: str, round_: int, tensors: Tensors) -> None:
        """Store the local part after a round; the same round replaces what it stored before.

        Raises:
            StateError: the disk refuses; what was stored is as it was.
        """
        files = self._files()
        known = [path for path in files if _round_of(path) == _key(run, round_)]
        number = int(files[0].stem) + 1 if files else 0
        path = known[0] if known else self._folder / f"{number:08d}.safetensors"
        write_atomic(path, save(tensors, metadata={"round": _key(run, round_)}))
        for old in self._files()[_KEEP:]:
            old.unlink(missing_ok=True)

    def _newest(self, other_than: str = "") -> Tensors:
        for path in self._files():
            if _round_of(path) != other_than:
                try:
                    return load_file(path)
                except (OSError, SafetensorError):
                    raise _damaged(path) from None
        return {}

    def _files(self) -> list[Path]:
        """Newest first."""
        with file_errors("the local part of a federation"):
            return sorted((p for p in self._folder.iterdir() if _NAME.match(p.name)), reverse=True)


def _key(run: str, round_: int) -> str:
    return f"{run}/{round_}"


def _round_of(path: Path) -> str:
    try:
        with safe_open(path, "numpy") as file:
            return str((file.metadata() or {}).get("round", ""))
    except (OSError, SafetensorError):
        raise _damaged(path) from None


def _damaged(path: Path) -> StateError:
    return StateError(
        f"the local part {path.stem} of a federation is damaged",
        "delete the folder 'local' of the site's state: the local part then starts from the version in use",
    )
