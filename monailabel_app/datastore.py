"""The site's image list: MONAI Label's local datastore, made safe to kill and to call from threads.

Images stay in the studies folder, which is only read (but for uploads); MONAI Label's index and the
labels that stock clients save and load live in the site's state. Differences to the base class: the
index is replaced atomically and rebuilt when it cannot be read, one lock guards every change, counts
are kept instead of scanned, and new images are noticed when the folder's time stamp changes (no
watcher thread over the whole tree).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore

from monailabel_app.errors import Conflict, NotFound
from monailabel_app.state.files import file_errors

__all__ = ["SiteDatastore"]

logger = logging.getLogger(__name__)


class SiteDatastore(LocalDatastore):  # type: ignore[misc]
    """Images of ``studies``; index and labels below ``folder``.

    Args:
        studies: folder whose files (not its sub-folders) are the images.
        folder: where the index and ``labels/<tag>/`` are kept.
        suffixes: file name ends that make a file an image, e.g. ``.nii.gz``.
        found: called with ids of images, all that are new among them, at the opening and whenever some may be.
    """

    def __init__(
        self,
        studies: Path,
        folder: Path,
        suffixes: Sequence[str],
        found: Callable[[list[str]], object] = lambda cases: None,
    ) -> None:
        self._guard = threading.RLock()
        self._studies = studies.resolve()
        self._suffixes = tuple(suffixes)
        self._found = found
        self._seen: int | None = None
        self._status: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        _drop_broken_index(folder / "datastore_v2.json")
        super().__init__(
            str(folder.resolve()), images_dir=str(self._studies), extensions=[f"*{suffix}" for suffix in suffixes]
        )
        self._found(self.list_images())
        self._count()

    def rescan(self) -> None:
        """Take in images that were added to or removed from the studies folder."""
        try:
            stamp = self._studies.stat().st_mtime_ns
        except OSError:
            return
        with self._guard:
            if stamp != self._seen:
                self.refresh()
                self._found(self.list_images())
                self._seen = stamp
                self._count()

    def path_of(self, image_id: str) -> Path:
        """File of a known image.

        Raises:
            NotFound: the site has no such image, or its file is gone.
        """
        path = self._lookup(image_id)
        if path is None:
            self.rescan()
            path = self._lookup(image_id)
        if path is None:
            raise NotFound(f"this site has no image {image_id[:80]!r}", "ask for the next case, or GET /datastore/")
        return path

    def _lookup(self, image_id: str) -> Path | None:
        with self._guard:
            known = image_id in self._datastore.objects
            path = Path(self.get_image_uri(image_id)) if known else None
        # A link inside the folder may point elsewhere on purpose; a name may not.
        inside = path is not None and path.is_file()
        return path if inside else None

    def label_path_of(self, image_id: str, tag: str) -> Path:
        """File of a saved label.

        Raises:
            NotFound: no label of that image under that tag.
        """
        with self._guard:
            uri = self.get_label_uri(image_id, tag)
        if not uri or not Path(uri).is_file():
            raise NotFound(f"no label {tag!r} of image {image_id[:80]!r}", "save one first, or check the tag")
        return Path(uri)

    def status(self) -> dict[str, Any]:
        """Counts of images and labels; a dictionary lookup, whatever the size of the store."""
        return self._status

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take a copy of an image into the studies folder; it appears there complete or not at all.

        Raises:
            Conflict: the id is taken: what was corrected must not change under its correction.
            StateError: the studies folder cannot be written.
        """
        suffix = next((s for s in self._suffixes if image_filename.lower().endswith(s)), "")
        name = f"{image_id}{suffix}"
        with self._guard, file_errors("the studies folder"):
            self.rescan()
            if image_id in self._datastore.objects or (self._studies / name).exists():
                raise Conflict(f"there is an image {image_id!r} already", "upload it under another id")
            temporary = self._studies / f".{name}.part"
            try:
                shutil.copyfile(image_filename, temporary)
                temporary.replace(self._studies / name)
            finally:
                temporary.unlink(missing_ok=True)
            info = {**image_info, "ts": int(time.time()), "name": name}
            self._datastore.objects[image_id] = ImageLabelModel(image=DataModel(info=info, ext=suffix))
            self._update_datastore_file()
            self._count()
            self._found([image_id])
        return image_id

    def remove_image(self, image_id: str) -> None:
        with self._guard:
            super().remove_image(image_id)
            self._count()

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        with self._guard:
            saved = str(super().save_label(image_id, label_filename, label_tag, label_info))
            self._count()
            return saved

    def remove_label(self, label_id: str, label_tag: str) -> None:
        with self._guard:
            super().remove_label(label_id, label_tag)
            self._count()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        with self._guard:
            super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        with self._guard:
            super().update_label_info(label_id, label_tag, info)

    def json(self) -> dict[str, Any]:
        """The index, without the folders of the server."""
        with self._guard:
            index: dict[str, Any] = self._datastore.model_dump(exclude={"base_path"})
        return {**index, "images_dir": ".", "labels_dir": "labels"}

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of image and final label as file names, without the folders of the server."""
        with self._guard:
            pairs = super().datalist()
        return [{key: Path(value).name for key, value in pair.items()} for pair in pairs]

    def unlabeled(self) -> list[str]:
        """Known images without a final label, sorted."""
        with self._guard:
            return sorted(self.get_unlabeled_images())

    def labelled(self, tag: str) -> list[str]:
        """Ids of the label files under a tag, sorted; the image of one may be gone."""
        with self._guard:
            files = self._list_files(self._datastore.label_path(tag), self._extensions)
        return sorted({self._to_id(name)[0] for name in files})

    def _count(self) -> None:
        self._status = super().status()

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        super()._init_from_datastore_file(throw_exception)
        self._datastore.images_dir = str(self._studies)  # the folder may have moved since the index was written

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Replace the index as a whole (callers hold the guard)."""
        path = Path(self._datastore_config_path)
        temporary = path.with_suffix(".tmp")
        text = json.dumps(self._datastore.model_dump(exclude={"base_path"}), default=str)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        self._config_ts = path.stat().st_mtime


def _drop_broken_index(path: Path) -> None:
    """Set an unreadable index aside: it only repeats what the folders hold."""
    if not path.exists():
        return
    try:
        json.loads(path.read_text(encoding="utf-8"))["objects"]
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("the image index could not be read and is made again")
        path.replace(path.with_suffix(".broken"))
