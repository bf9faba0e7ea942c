"""What an annotator was shown and did for a case since its last submission.

``record_shown`` and ``record_prompts`` are called by whatever answers an inference; a correction
then takes both over. Prompts are records; a mask shown is one file ``shown/<sha256 of the case
id>.npz`` (voxels and version together, replaced atomically). Case ids are never used as names.
Both are kept with the identity of the image (:attr:`~monailabel_app.imaging.volume.Volume.identity`):
whoever asks with that of another image, which has the case id by now, is told nothing of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monailabel_app.models.base import GivenPrompts, Labelmap, Prompts
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now, write_atomic
from monailabel_app.state.given import stood_by

__all__ = ["PromptStore", "Shown"]

_PENDING = "\"case\" = ? AND correction IS NULL AND (? IS NULL OR image IN ('', ?))"


@dataclass(frozen=True)
class Shown:
    """The mask that a site last showed for a case.

    Attributes:
        model: the model that made it.
        version: id of the version that made it.
        at: ISO 8601, UTC.
        labelmap: [i, j, k] in the image's own grid.
    """

    model: str
    version: str
    at: str
    labelmap: Labelmap


class PromptStore:
    """Masks shown and prompts given, per case.

    Args:
        database: the site's records.
        folder: where shown masks are kept; created when absent.
        clock: gives the time as ISO 8601.
    """

    def __init__(self, database: Database, folder: Path, clock: Callable[[], str] = utc_now) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def record_shown(self, case: str, model: str, version: str, labelmap: Labelmap, image: str = "") -> None:
        """Remember the mask that was sent to the annotator; it replaces the one before it.

        Args:
            case: case id.
            model: name of the model that made the mask.
            version: id of the version that made it.
            labelmap: [i, j, k] uint8 in the image's own grid.
            image: identity of the image; empty where it is not known: the mask then counts for any.
        """
        meta = json.dumps({"model": model, "version": version, "at": self._clock(), "image": image})
        buffer = io.BytesIO()
        np.savez_compressed(buffer, labelmap=np.asarray(labelmap, dtype=np.uint8), meta=np.array(meta))
        write_atomic(self._file(case), buffer.getvalue())

    def record_prompts(
        self, case: str, model: str, version: str, prompts: Sequence[Prompts], *, author: str = "", image: str = ""
    ) -> None:
        """Remember prompts of one request, in voxel indices of the original image; ``image`` as for the mask."""
        if prompts:
            self._database.execute(
                'INSERT INTO prompts ("case", author, at, model, version, prompts, image) VALUES (?, ?, ?, ?, ?, ?, ?)',
                (case, author, self._clock(), model, version, json.dumps([asdict(p) for p in prompts]), image),
            )

    def shown(self, case: str, image: str | None = None) -> Shown | None:
        """The mask last shown (of an image), or ``None`` where none was or its file is unreadable."""
        try:
            with np.load(self._file(case), allow_pickle=False) as file:
                labelmap, meta = file["labelmap"], json.loads(str(file["meta"]))
                if image is not None and meta.get("image", "") not in ("", image):
                    return None
                return Shown(meta["model"], meta["version"], meta["at"], labelmap)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def forget_shown(self, case: str) -> None:
        """Forget the mask shown: it was corrected."""
        self._file(case).unlink(missing_ok=True)

    def forget(self, case: str) -> None:
        """Forget the mask shown and the pending prompts: the image was deleted."""
        self.forget_shown(case)
        self._database.execute('DELETE FROM prompts WHERE "case" = ? AND correction IS NULL', (case,))

    def pending(self, case: str, image: str | None = None) -> list[dict[str, Any]]:
        """Prompts given (on an image) since the case was last submitted, oldest first."""
        rows = self._database.rows(
            f"SELECT prompts FROM prompts WHERE {_PENDING} ORDER BY number",  # noqa: S608 - constant condition
            (case, image, image),
        )
        return [prompt for row in rows for prompt in json.loads(row["prompts"])]

    def of_correction(self, correction: str) -> list[dict[str, Any]]:
        """Prompts that led to a correction, oldest first."""
        rows = self._database.rows("SELECT prompts FROM prompts WHERE correction = ? ORDER BY number", (correction,))
        return [prompt for row in rows for prompt in json.loads(row["prompts"])]

    def given(self, correction: str) -> tuple[GivenPrompts, ...]:
        """Prompts that led to a correction and were not taken back, to be trained on."""
        return stood_by(self.of_correction(correction))

    def claim(self, case: str, correction: str, image: str | None = None) -> None:
        """Give the pending prompts of a case (on an image) to a correction."""
        self._database.execute(
            f"UPDATE prompts SET correction = ? WHERE {_PENDING}",  # noqa: S608 - constant condition
            (correction, case, image, image),
        )

    def _file(self, case: str) -> Path:
        return self._folder / f"{hashlib.sha256(case.encode()).hexdigest()}.npz"
