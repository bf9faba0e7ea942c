"""Which patient is for training, which for validation, which is held out: decided once, for good.

A patient's part follows from a hash of the patient under the site's secret key, so it depends
neither on the order in which labels arrive nor on the patient's name. Small sites need a first
validation case early: where a site has two patients or more and none of them validates (or trains),
the one to be assigned now does, and nobody is held out before there is one of each. Stored
assignments never change, but for one thing: a split file may place patients of whom nothing was
corrected yet. The file also says which cases are of one patient; without it every case is a patient of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, cast, get_args

from monailabel_app.errors import Conflict, SiteError
from monailabel_app.state.database import Database
from monailabel_app.state.files import utc_now

__all__ = ["Part", "Splits"]

Part = Literal["train", "validation", "holdout"]

_VALIDATION = 0.25
_HOLDOUT = 0.10


class Splits:
    """Assignments of a site.

    Args:
        database: the site's records.
        key: secret bytes of the site.
        clock: gives the time as ISO 8601.
    """

    def __init__(self, database: Database, key: bytes, clock: Callable[[], str] = utc_now) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    def assign(self, cases: Mapping[str, str] | Iterable[str]) -> dict[str, Part]:
        """Parts of ``cases``; those not seen before are assigned now.

        Args:
            cases: case -> patient, or cases of which each is a patient of its own.
        """
        patients = dict(cases) if isinstance(cases, Mapping) else {case: case for case in cases}
        with self._database.transaction():
            known = self.all()
            fresh = {case: patient for case, patient in patients.items() if case not in known}
            for patient in sorted(set(fresh.values()), key=self._draw):
                self._assign_patient(patient)
            for case, patient in fresh.items():
                self._database.execute('INSERT INTO cases ("case", patient) VALUES (?, ?)', (case, patient))
            known = self.all() if fresh else known
        return {case: known[case] for case in patients}

    def part(self, case: str) -> Part:
        """The part of one case; assigned now if it is new."""
        return self.assign([case])[case]

    def all(self) -> dict[str, Part]:
        """Part of every case that was ever assigned."""
        rows = self._database.rows('SELECT "case", part FROM cases JOIN splits USING (patient) ORDER BY "case"')
        return {row["case"]: row["part"] for row in rows}

    def in_order(self, part: Part) -> list[str]:
        """Cases of a part in the order of their patients' draw: fixed, and unrelated to their names."""
        patients, parts = self.patients(), self.all()
        return sorted((case for case in parts if parts[case] == part), key=lambda c: (self._draw(patients[c]), c))

    def patients(self) -> dict[str, str]:
        """Patient of every case that was ever assigned."""
        rows = self._database.rows('SELECT "case", patient FROM cases ORDER BY "case"')
        return {row["case"]: row["patient"] for row in rows}

    def import_split(self, parts: Mapping[str, str], patients: Mapping[str, str] | None = None) -> int:
        """Take over what a split file says; returns how many cases are new.

        Args:
            parts: case -> part.
            patients: case -> patient; a case that was never named here is a patient of its own. Cases without
                a part share that of their patient's other cases, or are drawn together.

        Raises:
            SiteError: an unknown part.
            Conflict: a corrected patient, or one of an earlier file, has another part; nothing is
                taken over.
        """
        for case, part in parts.items():
            if part not in get_args(Part):
                raise SiteError(f"case {case!r} has part {part!r}", f"choose one of: {', '.join(get_args(Part))}")
        with self._database.transaction():
            before = self.patients()
            patients = {case: before.get(case, case) for case in parts} | dict(patients or {})
            self._forget_unused(c for c, patient in patients.items() if c in parts or before.get(c) != patient)
            known = self.all()
            for case in sorted(patients, key=lambda case: (case not in parts, case not in known)):
                self._take_over(case, patients[case], known.get(case), cast(Part | None, parts.get(case)))
            self._forget_unused(())
        return len(patients.keys() - before.keys())

    def _take_over(self, case: str, patient: str, known: Part | None, wanted: Part | None) -> None:
        """Place one case of a file.

        Args:
            case: the case.
            patient: whose it is.
            known: part that it has for good.
            wanted: part in the file.
        """
        parts = {part for part in (wanted, known, self._stored(patient)) if part is not None}
        if len(parts) > 1:
            have = known or self._stored(patient)
            raise Conflict(
                f"case {case!r} is for {have}, the split file says {wanted}"
                if wanted
                else f"case {case!r} is for {known}, other cases of its patient for {self._stored(patient)}",
                "a patient keeps its part for good; correct the file, or use another state folder",
            )
        if not parts:
            self._assign_patient(patient)
        elif self._stored(patient) is None:
            self._store(patient, parts.pop(), "file")
        self._database.execute(
            'INSERT INTO cases ("case", patient) VALUES (?, ?) '
            'ON CONFLICT ("case") DO UPDATE SET patient = excluded.patient',
            (case, patient),
        )

    def _assign_patient(self, patient: str) -> None:
        if self._stored(patient) is not None:
            return
        counts = {
            row["part"]: row["n"] for row in self._database.rows("SELECT part, COUNT(*) n FROM splits GROUP BY 1")
        }
        draw = self._draw(patient)
        part: Part = "validation" if draw < _VALIDATION else "holdout" if draw < _VALIDATION + _HOLDOUT else "train"
        if counts and not counts.get("validation"):
            part = "validation"
        elif not counts.get("train") and (counts or part == "holdout"):
            part = "train"
        self._store(patient, part, "hash")

    def _stored(self, patient: str) -> Part | None:
        row = self._database.row("SELECT part FROM splits WHERE patient = ?", (patient,))
        return cast(Part, row["part"]) if row else None

    def _forget_unused(self, cases: Iterable[str]) -> None:
        """Undo what only the hash decided for ``cases``, where nothing was corrected."""
        for case in cases:
            self._database.execute(
                'DELETE FROM cases WHERE "case" = ? AND NOT EXISTS '
                '(SELECT 1 FROM corrections WHERE corrections."case" = cases."case") '
                "AND EXISTS (SELECT 1 FROM splits WHERE splits.patient = cases.patient AND origin = 'hash')",
                (case,),
            )
        self._database.execute(
            "DELETE FROM splits WHERE origin = 'hash' AND patient NOT IN (SELECT patient FROM cases)"
        )

    def _store(self, patient: str, part: Part, origin: str) -> None:
        self._database.execute(
            "INSERT INTO splits (patient, part, origin, assigned_at) VALUES (?, ?, ?, ?)",
            (patient, part, origin, self._clock()),
        )

    def _draw(self, patient: str) -> float:
        """A number in [0, 1) that only this site can compute."""
        digest = hmac.new(self._key, patient.encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
