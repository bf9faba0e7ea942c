"""Corrections: the masks that annotators submit as final, each kept for good.

Layout of ``corrections/<id>/``: ``mask.nii.gz`` (as submitted, in the image's own grid) and
``shown.nii.gz`` (what the site had shown, if anything). Everything is checked before anything is
written; the folder is renamed into place before its row is stored, and a folder without a row is
the rest of an interrupted submission, removed when the server opens the site.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fed_backend.plan import LabelSchema
from monailabel_app.errors import ImageError, NotFound, SiteError, StateError
from monailabel_app.imaging.files import check_labels, conform_mask, read_mask, read_volume, write_mask
from monailabel_app.labels import chosen_labels
from monailabel_app.learning.dice import dice
from monailabel_app.models.base import Case, Labelmap
from monailabel_app.state.database import Database
from monailabel_app.state.files import clean_temporaries, create_folder, inside, sha256_of, utc_now
from monailabel_app.state.prompts import PromptStore
from monailabel_app.state.splits import Part, Splits

__all__ = ["Correction", "Corrections", "Submission"]

_NAME_MAX = 200


@dataclass(frozen=True)
class Submission:
    """A mask as it comes in.

    Attributes:
        case: case id, as the site lists it.
        image: file of the case's image, inside the folder of studies.
        mask: file of the submitted mask, any supported format, any axis order of the same grid.
        author: who submits it.
        patient: who is imaged; ``None`` takes the case id.
        seconds: time that the annotator worked on it, if known.
        annotated: labels that it annotates; of the others nothing is known, whatever the mask shows.
            ``None`` for all.
    """

    case: str
    image: Path
    mask: Path
    author: str
    patient: str | None = None
    seconds: float | None = None
    annotated: Sequence[str] | None = None


@dataclass(frozen=True)
class Correction:
    """A stored correction. Digests are SHA-256 of the files; ``prompts`` counts prompts given.

    ``annotated`` is label -> voxel value of what was annotated; older corrections of the whole schema have ``None``.
    ``number`` grows with every submission, whatever the clock says.
    """

    id: str
    case: str
    author: str
    submitted_at: str
    seconds: float | None
    image: str
    image_sha256: str
    mask_sha256: str
    model_shown: str | None
    version_shown: str | None
    dice_shown: float | None
    prompts: int
    part: Part
    annotated: dict[str, int] | None = None
    number: int = 0


class Corrections:
    """All corrections of a site.

    Args:
        database: the site's records.
        folder: ``corrections``, created when absent.
        studies: folder of images; every image path is resolved inside it.
        splits: assigns a corrected case to its part.
        prompts: what was shown and prompted.
        clock: gives the time as ISO 8601.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        studies: Path,
        splits: Splits,
        prompts: PromptStore,
        clock: Callable[[], str] = utc_now,
    ) -> None:
        self._database = database
        self._folder = folder
        self._studies = studies
        self._splits = splits
        self._prompts = prompts
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def submit(self, submission: Submission, labels: LabelSchema) -> Correction:
        """Check a mask against its image and the label schema, and keep it.

        Raises:
            ImageError: the mask or image cannot be read.
            GeometryError: the mask's grid is not the image's.
            LabelError: a voxel value, or an annotated label, that the schema does not know.
            NotFound: the image lies outside the folder of studies.
            StateError: the disk refuses.
            In every case the site's state is as it was.
        """
        for what, text in (("case", submission.case), ("author", submission.author)):
            if not text or len(text) > _NAME_MAX or not text.isprintable():
                raise SiteError(f"{what} {text[:40]!r} is no usable name", f"use 1 to {_NAME_MAX} printable characters")
        image_path = self._relative(submission.image)
        image = read_volume(submission.image)
        labelmap = conform_mask(read_mask(submission.mask), image)
        check_labels(labelmap, labels)
        annotated = chosen_labels(submission.annotated, labels)
        image_sha256 = sha256_of(submission.image)
        shown = self._prompts.shown(submission.case, image.identity)
        if shown is not None and shown.labelmap.shape != labelmap.shape:
            shown = None  # from before images were noted, and the image was replaced since
        identifier = f"c{self._clock().translate(str.maketrans('', '', '-:.'))}-{secrets.token_hex(4)}"

        def fill(folder: Path) -> None:
            write_mask(labelmap, image, folder / "mask.nii.gz", labels)
            if shown is not None:
                write_mask(shown.labelmap, image, folder / "shown.nii.gz", labels)

        create_folder(self._folder / identifier, fill)
        stored = self._folder / identifier
        row = {
            "id": identifier,
            "case": submission.case,
            "author": submission.author,
            "submitted_at": self._clock(),
            "seconds": submission.seconds,
            "image": image_path,
            "image_sha256": image_sha256,
            "mask_sha256": sha256_of(stored / "mask.nii.gz"),
            "model_shown": shown.model if shown else None,
            "version_shown": shown.version if shown else None,
            "shown_sha256": sha256_of(stored / "shown.nii.gz") if shown else None,
            "dice_shown": _mean_dice(shown.labelmap, labelmap, annotated) if shown else None,
            "prompts": len(self._prompts.pending(submission.case, image.identity)),
            "annotated": json.dumps(annotated),
        }
        try:
            with self._database.transaction():
                self._splits.assign({submission.case: submission.patient or submission.case})
                columns, marks = ", ".join(f'"{c}"' for c in row), ", ".join("?" * len(row))
                self._database.execute(f"INSERT INTO corrections ({columns}) VALUES ({marks})", list(row.values()))  # noqa: S608 - constant column names
                self._prompts.claim(submission.case, identifier, image.identity)
                self._database.execute('DELETE FROM chosen WHERE "case" = ?', (submission.case,))
        except BaseException:
            shutil.rmtree(stored, ignore_errors=True)
            raise
        self._prompts.forget_shown(submission.case)
        return self.get(identifier)

    def get(self, identifier: str) -> Correction:
        """One correction.

        Raises:
            NotFound: no such correction.
        """
        rows = self._database.rows(f"{_SELECT} WHERE id = ?", (identifier,))
        if not rows:
            raise NotFound(f"there is no correction {identifier[:80]!r}", "GET /corrections lists them")
        return _correction(rows[0])

    def list(self) -> list[Correction]:
        """All corrections, oldest first."""
        return [_correction(row) for row in self._database.rows(f"{_SELECT} ORDER BY number")]

    def count(self) -> int:
        """Number of the newest correction: grows with every submission, 0 before the first."""
        row = self._database.row("SELECT MAX(number) n FROM corrections")
        return int(row["n"] or 0) if row else 0

    def newest(self, part: Part) -> Sequence[Correction]:
        """The correction that counts for every case of a part, ordered by case: the chosen, else the newest."""
        rows = self._database.rows(f'{_SELECT} WHERE part = ? AND {_USED} ORDER BY "case"', (part,))
        return [_correction(row) for row in rows]

    def used(self) -> set[str]:
        """Ids of the corrections that count: one for every corrected case."""
        return {row["id"] for row in self._database.rows(f"SELECT id FROM corrections WHERE {_USED}")}  # noqa: S608

    def choose(self, identifier: str, by: str) -> Correction:
        """Let a correction count instead of newer ones of its case, until the case is submitted again.

        Raises:
            NotFound: no such correction.
        """
        correction = self.get(identifier)
        self._database.execute(
            'INSERT OR REPLACE INTO chosen ("case", correction, by, at) VALUES (?, ?, ?, ?)',
            (correction.case, identifier, by, self._clock()),
        )
        return correction

    def mask(self, correction: Correction) -> Path:
        """The stored mask, verified against its digest.

        Raises:
            StateError: the file is missing or is not what was submitted.
        """
        path = inside(self._folder, correction.id, "correction") / "mask.nii.gz"
        if not path.is_file() or sha256_of(path) != correction.mask_sha256:
            raise StateError(
                f"the mask of correction {correction.id} (case {correction.case!r}) is damaged",
                "submit the case again; the newest correction counts",
            )
        return path

    def load(self, correction: Correction) -> Case:
        """Image and submitted mask of a correction, and the prompts that led to it, for training or evaluation.

        Raises:
            ImageError: the image is gone, unreadable, or not the one that was corrected.
            StateError: the stored mask is damaged.
        """
        path = self._image(correction)
        image = read_volume(path)
        annotated = None if correction.annotated is None else frozenset(correction.annotated.values())
        mask = conform_mask(read_mask(self.mask(correction)), image)
        return Case(image, mask, annotated, self._prompts.given(correction.id))

    def usable(self, corrections: Sequence[Correction]) -> Sequence[Correction]:
        """Those whose image is still the one that was corrected and whose mask is whole."""
        good = []
        for correction in corrections:
            try:
                self._image(correction)
                self.mask(correction)
            except SiteError:
                continue
            good.append(correction)
        return good

    def clean(self) -> None:
        """Remove what interrupted submissions left; only the server that owns the site may."""
        clean_temporaries(self._folder)
        known = {row["id"] for row in self._database.rows("SELECT id FROM corrections")}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def _image(self, correction: Correction) -> Path:
        path = inside(self._studies, correction.image, "image")
        if not path.is_file() or sha256_of(path) != correction.image_sha256:
            raise ImageError(
                f"the image of case {correction.case!r} is missing or has changed since it was corrected",
                "restore the image, or submit a correction of the new one",
            )
        return path

    def _relative(self, image: Path) -> str:
        root = self._studies.resolve()
        try:
            return image.resolve().relative_to(root).as_posix()
        except ValueError:
            raise NotFound(f"image {image.name!r} is not among the site's studies") from None


_SELECT = 'SELECT corrections.*, splits.part FROM corrections JOIN cases USING ("case") JOIN splits USING (patient)'
_USED = (
    'COALESCE((SELECT correction FROM chosen WHERE chosen."case" = corrections."case"), '
    '(SELECT id FROM corrections newer WHERE newer."case" = corrections."case" ORDER BY number DESC LIMIT 1)) '
    "= corrections.id"
)


def _correction(row: sqlite3.Row) -> Correction:
    fields = {name: row[name] for name in Correction.__dataclass_fields__}
    return Correction(**{**fields, "annotated": json.loads(row["annotated"]) if row["annotated"] else None})


def _mean_dice(shown: Labelmap, submitted: Labelmap, labels: LabelSchema) -> float:
    """Mean volumetric Dice over the labels that either mask holds; 1 where both are empty."""
    pairs = [(shown == value, submitted == value) for value in labels.values()]
    scores = [dice(a, b) for a, b in pairs if a.any() or b.any()]
    return float(sum(scores) / len(scores)) if scores else 1.0
