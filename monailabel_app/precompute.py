"""``fedseg precompute``: the features of a work list, overnight.

Slices that are stored already are skipped, so the command can be stopped and started again at any
time, and may run beside the site. It lowers its own priority.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fed_backend.errors import FedSegError

if TYPE_CHECKING:
    from monailabel_app.inference.embeddings.cache import FeatureCache
    from monailabel_app.inference.embeddings.disk import DiskStore
    from monailabel_app.inference.embeddings.snapshot import Snapshot

__all__ = ["Done", "precompute", "run_list"]

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Done:
    """How far a work list is.

    Attributes:
        case: the case that was worked on.
        number: its place in the list, from 1.
        cases: cases in all.
        computed: slices computed for this case.
        skipped: slices that were stored already.
        problem: why the case was left out; empty where it was not.
        full: whether the disk limit is reached: the list ends here.
    """

    case: str
    number: int
    cases: int
    computed: int = 0
    skipped: int = 0
    problem: str = ""
    full: bool = False


@click.command()
@click.option("--studies", type=_PATH, required=True, help="Folder of the images (read only).")
@click.option("--state", type=_PATH, required=True, help="The site's state folder.")
@click.option("--plan", type=_PATH, help="The site's plan, where it has one.")
@click.option("--case", "cases", multiple=True, help="Image id; repeatable.  [default: all, uncorrected ones first]")
@click.option("--axis", default="", help="i, j, k, axial, coronal or sagittal.  [default: the image's thickest]")
@click.option("--checkpoint", type=_PATH, help="Checkpoint of SAM ViT-B or MedSAM.")
@click.option(
    "--features-limit",
    "limit",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    help="Features on disk, in MiB; the site deletes what is above its own.",
)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True, help="As the site's."
)
def precompute(
    studies: Path,
    state: Path,
    plan: Path | None,
    cases: tuple[str, ...],
    axis: str,
    checkpoint: Path | None,
    limit: int,
    threads: int,
    device: str,
) -> None:
    """Compute the features of cases ahead, so that the first click on any slice is quick."""
    try:
        _precompute(studies, state, plan, cases, axis, checkpoint, limit * 2**20, threads, device)
    except FedSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("stopped; start it again to go on", err=True)
        sys.exit(130)


def _precompute(
    studies: Path,
    state: Path,
    plan: Path | None,
    cases: Sequence[str],
    axis: str,
    checkpoint: Path | None,
    limit: int,
    threads: int,
    device: str,
) -> None:
    import torch

    from monailabel_app.errors import NotFound
    from monailabel_app.imaging.files import site_images
    from monailabel_app.inference.embeddings.cache import FeatureCache
    from monailabel_app.inference.embeddings.disk import DiskStore
    from monailabel_app.inference.embeddings.memory import MemoryStore
    from monailabel_app.inference.embeddings.priority import Turns
    from monailabel_app.interactive.setup import EMBEDDINGS
    from monailabel_app.models.device import choose_device

    if hasattr(os, "nice"):
        os.nice(10)
    torch.set_num_threads(threads)
    if not studies.is_dir():
        raise NotFound("the studies folder is not there", "check --studies")
    images = site_images(studies)
    if unknown := [case for case in cases if case not in images]:
        raise NotFound(f"there is no image {unknown[0]!r} in the studies folder", "check --case")
    snapshot, corrected = _champion(studies, state, plan, checkpoint, choose_device(device))
    chosen = list(cases) or sorted(images, key=lambda case: (case in corrected, case))
    disk = DiskStore(state / EMBEDDINGS, limit)
    cache = FeatureCache(MemoryStore(1), disk, Turns())
    start, slices, missed = time.monotonic(), 0, 0
    for done in run_list([(case, images[case]) for case in chosen], snapshot, cache, disk, axis, limit, _show):
        slices += done.computed
        missed += bool(done.problem)
        click.echo(_line(done))
        if done.full:
            click.echo(
                "the limit of features on disk is reached; raise --features-limit to go on, here and of the site"
            )
            break
    click.echo(f"{slices} slices in {time.monotonic() - start:.0f} s, {disk.nbytes / 2**20:.0f} MiB on disk")
    if missed:
        sys.exit(1)


def run_list(
    cases: Sequence[tuple[str, Path]],
    snapshot: Snapshot,
    cache: FeatureCache,
    disk: DiskStore,
    axis: str,
    limit: int,
    progress: Callable[[str, int, int], None] = lambda case, index, count: None,
) -> Iterator[Done]:
    """Compute case after case; a case that cannot be read is reported and left out."""
    from monailabel_app.errors import SiteError

    for number, (case, path) in enumerate(cases, 1):
        try:
            computed, skipped, full = _one_case(path, snapshot, cache, disk, axis, limit, case, progress)
        except SiteError as error:
            yield Done(case, number, len(cases), problem=str(error))
            continue
        yield Done(case, number, len(cases), computed, skipped, full=full)
        if full:
            return


def _one_case(
    path: Path,
    snapshot: Snapshot,
    cache: FeatureCache,
    disk: DiskStore,
    axis: str,
    limit: int,
    case: str,
    progress: Callable[[str, int, int], None],
) -> tuple[int, int, bool]:
    from monailabel_app.imaging.files import read_volume
    from monailabel_app.imaging.intensity import window_of
    from monailabel_app.imaging.orient import stack_of
    from monailabel_app.inference.embeddings.cache import SliceView
    from monailabel_app.inference.planes import Plane, axis_of
    from monailabel_app.interactive.limits import check_size, default_limit

    check_size(path, default_limit())
    volume = read_volume(path)
    plane = Plane.of(volume, axis_of(volume, axis) if axis else stack_of(volume).axes[0], snapshot.image_size)
    window = window_of(volume)
    computed = skipped = 0
    for index in range(len(plane)):
        view = SliceView(volume, plane, window, index)
        if cache.is_stored(snapshot, view):
            skipped += 1
            continue
        before = disk.nbytes
        cache.features(snapshot, view, urgent=False)
        computed += 1
        progress(case, index + 1, len(plane))
        # the next one would push out what was just computed
        if disk.nbytes + max(0, disk.nbytes - before) > limit:
            return computed, skipped, True
    return computed, skipped, False


def _champion(
    studies: Path, state: Path, plan: Path | None, checkpoint: Path | None, device: str
) -> tuple[Snapshot, frozenset[str]]:
    """The network that the site serves, and the cases that were corrected."""
    from fed_backend.plan import load_plan
    from monailabel_app.errors import SiteError
    from monailabel_app.inference.embeddings.snapshot import take_snapshot
    from monailabel_app.models.device import fastest_numeric
    from monailabel_app.models.registry import build_segmenter, default_spec
    from monailabel_app.models.sam import SamSegmenter
    from monailabel_app.state.site import SiteState

    loaded = load_plan(plan) if plan is not None else None
    ours = loaded is not None and loaded.model.name == "sam"
    spec = loaded.model if loaded is not None and ours else default_spec("sam")
    labels = dict(loaded.labels) if loaded is not None else {"structure": 1}  # features do not depend on them
    segmenter = build_segmenter(spec, labels, checkpoint=checkpoint)
    assert isinstance(segmenter, SamSegmenter)
    if not (state / "site.sqlite").is_file():
        raise SiteError("the state folder holds no site", "start the site once, and name its folder with --state")
    with SiteState(state.resolve(), studies.resolve(), own=False) as opened:
        store = opened.versions("sam")
        version = store.champion()
        known = segmenter.adapter()
        tensors = {name: value for name, value in store.load(version).items() if name in known}
        corrected = frozenset(correction.case for correction in opened.corrections.list())
    whole, numeric = {**known, **tensors}, fastest_numeric(device)
    return take_snapshot(segmenter, version, whole, numeric=numeric, device=device), corrected


def _show(case: str, index: int, count: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{case}: slice {index} of {count} ", nl=index == count, err=True)


def _line(done: Done) -> str:
    place = f"[{done.number}/{done.cases}] {done.case}"
    if done.problem:
        return f"{place}: left out: {done.problem}"
    return f"{place}: {done.computed} slices computed, {done.skipped} were there"
