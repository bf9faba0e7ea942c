"""Masks that were submitted and are not yet at their site, on this computer's disk.

Every mask goes through here: it is written, then sent, then removed. So a lost connection, a crash or a closed Slicer
loses nothing, and what waits is sent when the site can be reached again. One folder, readable by its owner only; per
mask a description (``.json``, written last: without it the mask is not there) and the mask file beside it.

The GUI thread and one worker use it; every operation is one atomic rename or removal, so there is no lock.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import FedSegError, OutboxFault
from .language import tr as _
from .protocol import Label, LabelSchema
from .voxels import Voxels, mask_file

_FORMAT = 1


@dataclass(frozen=True)
class Parcel:
    """A mask that waits.

    Attributes:
        id: its name in the outbox; sorts by time of submission.
        server: address that it belongs to, and that its consent was given for.
        case: id of the image there. labels: (name, voxel value) of the schema it was made for.
        author: "" to leave it to the sign-in. seconds, clicks: effort, None not to tell.
        created: ISO 8601 UTC.
    """

    id: str
    server: str
    case: str
    labels: tuple[tuple[str, int], ...]
    suffix: str
    author: str
    seconds: float | None
    clicks: int | None
    created: str

    @property
    def schema(self) -> LabelSchema:
        """The labels as a schema; colours do not travel."""
        return LabelSchema(tuple(Label(name, value, (0, 0, 0)) for name, value in self.labels))


class Outbox:
    """The folder of waiting masks.

    Args:
        folder: made on first use.
        now: present time, ISO 8601 UTC.
    """

    def __init__(self, folder: Path, now: Callable[[], str]) -> None:
        self._folder = folder
        self._now = now

    def parcel(
        self,
        server: str,
        case: str,
        schema: LabelSchema,
        *,
        suffix: str,
        author: str = "",
        seconds: float | None = None,
        clicks: int | None = None,
    ) -> Parcel:
        """The description of a mask that was submitted now; nothing is written yet."""
        created = self._now()
        name = f"{created.replace(':', '').replace('+0000', 'Z')}-{secrets.token_hex(4)}"
        labels = tuple((label.name, label.value) for label in schema.labels)
        return Parcel(name, server, case, labels, suffix, author, seconds, clicks, created)

    def keep(self, parcel: Parcel, mask: Voxels) -> None:
        """Write a mask and its description (worker thread).

        Raises:
            OutboxFault: it cannot be written.
        """
        description = json.dumps({"format": _FORMAT, **asdict(parcel)}).encode()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(self.mask_of(parcel), mask_file(mask.array, mask.grid.affine, parcel.suffix))
            self._write(self._folder / f"{parcel.id}.json", description)
        except OSError as error:
            raise OutboxFault(
                _("The mask cannot be kept on this computer: {strerror}.").format(strerror=error.strerror),
                _("Is the disk full? Nothing was sent."),
            ) from None

    def waiting(self, server: str | None = None) -> list[Parcel]:
        """Masks that wait, oldest first; of one server, or all. What cannot be read is left alone."""
        if not self._folder.is_dir():
            return []
        found = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return [parcel for parcel in found if parcel is not None and server in (None, parcel.server)]

    def mask_of(self, parcel: Parcel) -> Path:
        """The mask file of a parcel."""
        return self._folder / f"{parcel.id}{parcel.suffix}"

    def remove(self, parcel: Parcel) -> None:
        """It arrived, or is not wanted any more."""
        (self._folder / f"{parcel.id}.json").unlink(missing_ok=True)
        self.mask_of(parcel).unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.part")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _read(self, path: Path) -> Parcel | None:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT or values["id"] != path.stem:
                return None
            values["labels"] = tuple((str(name), int(value)) for name, value in values["labels"])
            parcel = Parcel(**values)
            return parcel if self.mask_of(parcel).is_file() and parcel.schema.names else None
        except (OSError, ValueError, KeyError, TypeError, FedSegError):
            return None
