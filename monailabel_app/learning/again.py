"""Make a learned version again from its record alone: corrections and images by digest, seed, settings, parent.

Equal bytes show that the version is what its record says. They need the machine's kind of processor, the program's and
torch's version, and the number of threads to be those of the record; :func:`differences` names what is not.
"""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app import __version__
from monailabel_app.errors import Conflict, StateError
from monailabel_app.imaging.files import read_volume, site_images
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.recipe import Rehearsal, learn_from
from monailabel_app.learning.tasks.workbench import Workbench
from monailabel_app.models.base import Case, Progress, no_progress
from monailabel_app.state.corrections import Correction
from monailabel_app.state.files import sha256_of
from monailabel_app.state.given import digest_of
from monailabel_app.state.versions import DataId, Version, model_of

__all__ = ["differences", "retrain"]


def retrain(bench: Workbench, identifier: str, progress: Progress = no_progress) -> Tensors:
    """Train once more what a version was trained on; nothing is stored.

    Args:
        bench: with the model settings and labels of the version's record.
        identifier: a version that was learned at this site.
        progress: called after each step.

    Raises:
        NotFound: no such version, parent or correction here.
        Conflict: it was not learned here, or its record is too old to say how.
        ImageError: an image is gone or changed.
        StateError: a correction is not the one that the record names.
    """
    store = bench.state.store_of(identifier)
    record = store.get(identifier)
    kept = record.settings.get("rehearsal")
    if record.origin != "learning" or record.parent is None or kept is None:
        raise Conflict(
            f"{identifier} was not learned here from corrections ({record.origin})",
            "choose a version of origin learning",
        )
    segmenter, _ = bench.open(model_of(identifier))
    start = store.load(record.parent)
    cases = [_case(bench, data) for data in record.data]
    images = _images(bench.setup.studies, kept["images"])
    threads = torch.get_num_threads()
    torch.set_num_threads(int(record.settings.get("threads", threads)))
    try:
        segmenter.load_adapter(start)
        rehearsed = tuple((volume, segmenter.segment(volume)) for volume in images.values())
        rehearsal = Rehearsal(rehearsed, tuple(images), kept["trust"], kept["keep"])
        training = TrainingSpec.model_validate(record.settings["training"])
        done = learn_from(segmenter, start, cases, rehearsal, training, seed=record.seed, progress=progress)
    finally:
        torch.set_num_threads(threads)
    return done.tensors


def differences(record: Version) -> list[str]:
    """What is not as it was when a version was made, and may change the last digits: one clause each."""
    here = {"program": __version__, "torch": torch.__version__, "processor": platform.machine()}
    then: dict[str, Any] = {"program": record.code_version, **record.settings}
    return [
        f"{what} was {then[what]}, is {now}" for what, now in here.items() if then.get(what) not in (None, "", str(now))
    ]


def _case(bench: Workbench, data: DataId) -> Case:
    (case,) = bench.load([_correction(bench, data)])
    if not data.prompts_sha256:  # of a model that takes none, or made before prompts were trained on
        return case._replace(prompts=())
    if digest_of(case.prompts) != data.prompts_sha256:
        raise StateError(f"the prompts of correction {data.correction} are not those that the version was trained on")
    return case


def _correction(bench: Workbench, data: DataId) -> Correction:
    found = bench.state.corrections.get(data.correction)
    if (found.image_sha256, found.mask_sha256) != (data.image_sha256, data.mask_sha256):
        raise StateError(f"correction {data.correction} is not the one that the version was trained on")
    return found


def _images(studies: Path, digests: list[str]) -> dict[str, Volume]:
    """Digest -> image, in the order of the record."""
    found: dict[str, Path] = {}
    for path in site_images(studies).values() if digests else ():
        with suppress(StateError):
            found.setdefault(sha256_of(path), path)
    missing = [digest for digest in digests if digest not in found]
    if missing:
        raise Conflict(
            f"{len(missing)} image(s) that were rehearsed are gone or changed: {missing[0][:12]}…",
            "restore them among the studies",
        )
    return {digest: read_volume(found[digest]) for digest in digests}
